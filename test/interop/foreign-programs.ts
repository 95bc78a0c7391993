import type { AcmePrograms } from './acme/programs.ts';

export type Language = 'go' | 'python' | 'rust' | 'java';
export type Judge = 'go' | 'rust' | 'java';
type Command = readonly string[];

/** What `npm run interop` built or installed (scripts/foreign.mjs). */
export interface ForeignPrograms {
  readonly clients: Readonly<Record<Language, Command>>;
  /** That of `clients` on go-spiffe, for files that need no other. */
  readonly goClient: Command;
  readonly grpcurl: Command;
  /** The examples of clients/go and clients/python. */
  readonly controlPlanes: Readonly<Record<'go' | 'python', Command>>;
  readonly envoy: Command;
  readonly caddy: Command;
  readonly traefik: Command;
  /** Istio's own CA client (test/interop/istio). */
  readonly istio: Command;
  /** The API server of Kubernetes, and what it keeps its objects in. */
  readonly apiServer: Command;
  readonly etcd: Command;
  /** A client with the shape of Linkerd's proxy (test/interop/linkerd). */
  readonly linkerd: Command;
  /** Clients of ACME (test/interop/acme). */
  readonly acme: AcmePrograms;
  /** The CA that the drill acme-tenants compares with (test/interop/step-ca). */
  readonly stepCa: string;
  /** Both ends of federation on go-spiffe (test/interop/federation). */
  readonly federation: Command;
  /** The server and the agent of SPIRE. */
  readonly spire: Command;
  readonly spireAgent: Command;
  readonly judges: Readonly<Record<Judge, Command>>;
  /** The folder of Wycheproof's JSON. */
  readonly vectors: string;
  readonly pkilint: Command;
  readonly certutil: Command;
  readonly vfychain: Command;
  readonly java: Command;
}

/**
 * One of them. `npm run interop -- FILE` builds what the file names here by a literal
 * (scripts/foreign-needs.mjs).
 */
export function foreignProgram<Name extends keyof ForeignPrograms>(
  name: Name,
): ForeignPrograms[Name] {
  const text = process.env['MESHCA_FOREIGN_PROGRAMS'];
  if (text === undefined) throw new Error('start this file with: npm run interop');
  const program = (JSON.parse(text) as Partial<ForeignPrograms>)[name];
  if (program === undefined) throw new Error(`${name} was not built for this file`);
  return program;
}

import type { ServiceDefinition } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Session } from './session.ts';
import type { ReaderKind } from './stream-consumers.ts';
import type { StreamHandle, StreamSource } from './stream-source.ts';

/**
 * What the metadata of every request must carry. A web page can make a browser connect, but it
 * can't set metadata, so a required key keeps such requests from identities.
 */
export type MetadataRule =
  | { readonly kind: 'required'; readonly key: string; readonly value: string }
  | { readonly kind: 'none'; readonly reason: string };

/** Whose calls an API answers. */
export type Callers =
  /** Any process. Its attestation decides what it gets. */
  | { readonly kind: 'workloads' }
  /** Users with these IDs. They see errors in full. */
  | { readonly kind: 'operators'; readonly uids: ReadonlySet<number> };

/**
 * An API on a socket of the agent. The local server enforces the metadata rule and the callers
 * before any method runs, so that an API can't forget them.
 */
export interface SocketApi {
  /** The name in logs. */
  readonly name: string;
  readonly metadata: MetadataRule;
  readonly callers: Callers;
  /** Called once, at the start. */
  services(host: ApiHost): readonly ApiService[];
}

/** What the local server offers to its APIs. */
export interface ApiHost {
  /** Counts the changes of the bundles. A message encoded at an older count is stale. */
  bundleGeneration(): number;
}

export interface ApiService {
  readonly definition: ServiceDefinition;
  /** One for each method of the definition. */
  readonly methods: Readonly<Record<string, UnaryMethod | StreamMethod | DialogueMethod>>;
}

export interface UnaryMethod {
  readonly kind: 'unary';
  run(session: Session, request: unknown): Promise<unknown>;
}

/**
 * A stream on which each request gets one answer, in turn. It carries nothing of an identity: the
 * caller is not attested, and no delivery is proven.
 */
export interface DialogueMethod {
  readonly kind: 'dialogue';
  answer(request: unknown): Promise<unknown>;
}

/** A stream of messages, each with proof that its reader has it. */
export interface StreamMethod {
  readonly kind: 'stream';
  /**
   * How its readers are reported as consumers. `by source`: the source reports what its reader has.
   */
  readonly readers: ReaderKind | 'by source';
  /** What becomes of a caller to whom no entry gives an identity. */
  readonly withoutIdentity: 'refused' | 'left to the source';
  /**
   * `kernel`: the bytes have left the socket's buffer. `ack`: the reader acknowledges the nonce of
   * the message; for methods whose client sends a stream too.
   */
  readonly proof: 'kernel' | 'ack';
  /** A throw ends the stream. `request` is undefined if the client sends a stream. */
  open(stream: StreamHandle, request: unknown): StreamSource;
}

/** Throws INTERNAL for an API without the declarations that it needs. */
export function assertDeclared(api: SocketApi, services: readonly ApiService[]): void {
  const defect = (what: string): PkiError =>
    new PkiError('INTERNAL', `the API ${JSON.stringify(api.name)} ${what}`);
  const rule = api.metadata as Partial<MetadataRule> | undefined;
  const declared =
    rule !== undefined &&
    (rule.kind === 'required'
      ? Boolean(rule.key) && Boolean(rule.value)
      : rule.kind === 'none' && Boolean(rule.reason));
  if (!declared) throw defect('declares no rule for the metadata of requests');
  for (const { definition, methods } of services) {
    for (const [name, { path, requestStream, responseStream }] of Object.entries(definition)) {
      const method = methods[name];
      if (method === undefined) throw defect(`does not answer ${path}`);
      const isUnary = method.kind === 'unary';
      if (isUnary === responseStream || (method.kind === 'dialogue' && !requestStream))
        throw defect(`answers ${path} as if it were a ${method.kind} method`);
      if (method.kind === 'dialogue') continue;
      if (method.kind === 'unary' ? requestStream : (method.proof === 'ack') !== requestStream)
        throw defect(`can't get proof of delivery for ${path} in the way that it declares`);
    }
  }
}

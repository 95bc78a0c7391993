import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';
import { loadPackageDefinition, type GrpcObject, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type Options, type PackageDefinition } from '@grpc/proto-loader';
import type { ProtoGrpcType as AdminProto } from './generated/admin.ts';
import type { ProtoGrpcType as IstioProto } from './generated/ca.ts';
import type { ProtoGrpcType as AgentProto } from './generated/agent.ts';
import type { ProtoGrpcType as LinkerdProto } from './generated/identity.ts';
import type { ProtoGrpcType as IssuerProto } from './generated/issuer.ts';
import type { ProtoGrpcType as ReportsProto } from './generated/reports.ts';
import type { ProtoGrpcType as SdsProto } from './generated/sds.ts';
import type { ProtoGrpcType as SigningProto } from './generated/signing.ts';
import type { ProtoGrpcType as WorkloadProto } from './generated/workload.ts';

/** The generated types hold for exactly these options. */
const options: Options = {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
  keepCase: false,
};

/** The methods of one service that others have defined. */
export type ForeignService = ServiceDefinition;

interface Contract<T> {
  readonly definition: PackageDefinition;
  readonly packages: T;
}

const loaded = new Map<string, Contract<unknown>>();

/** Loads a contract once per process; `path` is below proto/. */
function contract<T>(path: string): Contract<T> {
  const known = loaded.get(path);
  if (known !== undefined) return known as Contract<T>;
  const file = fileURLToPath(import.meta.resolve(`#proto/${path}`));
  const root = join(file, ...path.split('/').map(() => '..'));
  const definition = loadSync(file, { ...options, includeDirs: [dirname(file), root] });
  const fresh: Contract<T> = {
    definition,
    packages: loadPackageDefinition(definition) as GrpcObject as unknown as T,
  };
  loaded.set(path, fresh as Contract<unknown>);
  return fresh;
}

export const issuerContract = (): Contract<IssuerProto> =>
  contract('meshca/issuer/v1/issuer.proto');
export const signingContract = (): Contract<SigningProto> =>
  contract('meshca/signing/v1/signing.proto');
export const adminContract = (): Contract<AdminProto> => contract('meshca/admin/v1/admin.proto');
export const agentContract = (): Contract<AgentProto> => contract('meshca/agent/v1/agent.proto');
export const workloadContract = (): Contract<WorkloadProto> => contract('spiffe/workload.proto');
export const reportsContract = (): Contract<ReportsProto> =>
  contract('meshca/workload/v1/reports.proto');
export const istioContract = (): Contract<IstioProto> => contract('istio/v1/auth/ca.proto');
export const linkerdContract = (): Contract<LinkerdProto> => contract('linkerd/identity.proto');
export const sdsContract = (): Contract<SdsProto> => contract('envoy/service/secret/v3/sds.proto');

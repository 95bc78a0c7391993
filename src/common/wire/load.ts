import type { ServiceDefinition } from '@grpc/grpc-js';
import { contractFrom, type Contract } from './contract.ts';
import { contractJson, type ContractPath } from './contract-json.ts';
import type { ProtoGrpcType as AdminProto } from './generated/admin.ts';
import type { ProtoGrpcType as IstioProto } from './generated/ca.ts';
import type { ProtoGrpcType as AgentProto } from './generated/agent.ts';
import type { ProtoGrpcType as LinkerdProto } from './generated/identity.ts';
import type { ProtoGrpcType as IssuerProto } from './generated/issuer.ts';
import type { ProtoGrpcType as ReportsProto } from './generated/reports.ts';
import type { ProtoGrpcType as SdsProto } from './generated/sds.ts';
import type { ProtoGrpcType as SigningProto } from './generated/signing.ts';
import type { ProtoGrpcType as WorkloadProto } from './generated/workload.ts';

/** The methods of one service that others have defined. */
export type ForeignService = ServiceDefinition;

const loaded = new Map<ContractPath, Contract<unknown>>();

/** Loads a contract once per process. */
function contract<Packages>(path: ContractPath): Contract<Packages> {
  const known = loaded.get(path);
  if (known !== undefined) return known as Contract<Packages>;
  const fresh = contractFrom<Packages>(() => contractJson(path));
  loaded.set(path, fresh);
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
/** Health and reflection, which libraries define. */
export const healthContract = (): Contract<unknown> => contract('grpc/health/v1');
export const reflectionContracts = (): readonly Contract<unknown>[] => [
  contract('grpc/reflection/v1'),
  contract('grpc/reflection/v1alpha'),
];

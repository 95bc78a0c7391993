export { attestationMessage } from './attestation-message.ts';
export type {
  AdminServiceName,
  AgentLocalMethods,
  MethodAt,
  MethodKind,
  MethodName,
  MethodPath,
  MethodPathOf,
  MethodType,
  OperationName,
  ServiceName,
  ServiceTypes,
} from './method-types.ts';
export type { ForeignService } from './load.ts';
export {
  adminContract,
  agentContract,
  issuerContract,
  istioContract,
  linkerdContract,
  reportsContract,
  sdsContract,
  signingContract,
  workloadContract,
} from './load.ts';
export {
  exactRequestFromJson,
  methodDefinition,
  requestFromJson,
  requestToJson,
  responseToJson,
  serviceDefinition,
} from './method-messages.ts';
export { boundRequests, type RequestBounds, type RequestOwner } from './request-bounds.ts';
export {
  verifyServer,
  type ServerTrust,
  type TrustSettings,
  type VerifiedServer,
} from './server-trust.ts';
export {
  codeTrailer,
  fromServiceError,
  outsideView,
  refusalIdTrailer,
  noteKey,
  requestIdKey,
  toStatus,
} from './status.ts';

export { refuseImpersonation } from './istio-impersonation.ts';

/** The protocol of agents and server; a peer one release apart speaks the lower of both. */
export const protocolVersion = 1;

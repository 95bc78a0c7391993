export { Pruner } from './inspection/pruner.ts';
export {
  actorOf,
  callerClasses,
  type AdminCaller,
  type AgentCaller,
  type AnonymousCaller,
  type Caller,
  type CallerClass,
  type CertificateCaller,
  type DelegateCaller,
  type LocalCaller,
  type OperatorCaller,
  type WorkloadCaller,
} from './callers/caller.ts';
export type * from './services.ts';
export { createServices, type RunningServices } from './create.ts';
export type { ServicesDependencies } from './services-dependencies.ts';
export { InventoryProof } from './callers/inventory-proof.ts';
export {
  NodeAttestors,
  nodeAttestorSchemas,
  nodeAttestorTypes,
  type NodeAttestorConfiguration,
  type NodeAttestorDependencies,
  type NodeAttestorType,
} from './attestation/index.ts';
export {
  configuredFronts,
  controlPlaneSchemas,
  controlPlaneTypes,
  createControlPlanes,
  type ConfiguredFront,
  type ServedControlPlane,
} from './control-planes/index.ts';
export { recordReturn } from './attestation/server-absence.ts';
export { HandshakeLedger } from './sync/handshakes.ts';
export { pendingByKind } from './approvals/pending.ts';
export { RenewalLedger } from './issuing/renewals.ts';
export type { ServerFacts } from './inspection/status-service.ts';
export { RepeatMemory } from './issuing/repeat-memory.ts';
export { warnOfReservedNames } from './registration/older-names.ts';
export { TenantOwners } from './tenants/tenant-owners.ts';
export { warnOfRevocable } from './registration/revocable.ts';
export {
  defaultServiceSettings,
  maximumJoinTokenTtlSeconds,
  type ServiceSettings,
} from './settings.ts';
export { Acme, type AcmeOutcome, type AcmeResource } from './acme/acme.ts';
export type { AcmeAnswer, AcmeLink } from './acme/answer.ts';
export { maximumJwsBytes } from './acme/jws.ts';
export { problemDocument, type AcmeProblem, type AcmeProblemType } from './acme/problem.ts';
export {
  maximumExchangeBytes,
  tokenExchange,
  type TokenExchangeRequest,
} from './acme/token-exchange.ts';
export { acmePath, AcmeUrls } from './acme/urls.ts';
export { createAcme, type AcmeObserver, type RunningAcme } from './acme/create-acme.ts';

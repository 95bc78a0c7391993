export { Pruner } from './pruner.ts';
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
} from './caller.ts';
export type * from './contract.ts';
export { createServices, type RunningServices, type ServicesDependencies } from './create.ts';
export { InventoryProof } from './inventory-proof.ts';
export {
  NodeAttestors,
  nodeAttestorSchemas,
  nodeAttestorTypes,
  type NodeAttestorConfiguration,
  type NodeAttestorDependencies,
  type NodeAttestorType,
} from './attestation/index.ts';
export { HandshakeLedger } from './handshakes.ts';
export { pendingByKind } from './approvals/pending.ts';
export { RenewalLedger } from './renewals.ts';
export type { ServerFacts } from './inventory.ts';
export { defaultServiceSettings, type ServiceSettings } from './settings.ts';

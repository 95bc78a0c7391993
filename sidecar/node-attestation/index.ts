import type { NodeAttestorType } from './node-attestor.ts';
import * as types from './types.ts';

export { AgentIdentity, type AgentIdentityDependencies } from './agent-identity.ts';
export { attestsAgain } from './refusals.ts';
export {
  configuredEvidence,
  configuredTypes,
  nodeAttestorSchemas,
  type ConfiguredEvidence,
  type NodeAttestorConfiguration,
} from './configured-evidence.ts';
export const nodeAttestorTypes: readonly NodeAttestorType[] = Object.values(types);

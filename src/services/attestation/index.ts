import type { NodeAttestorType } from './node-attestor.ts';
import * as types from './types.ts';

export {
  nodeAttestorType,
  type NodeAttestorDependencies,
  type NodeAttestorType,
} from './node-attestor.ts';
export {
  NodeAttestors,
  nodeAttestorSchemas,
  type NodeAttestorConfiguration,
} from './node-attestors.ts';
export const nodeAttestorTypes: readonly NodeAttestorType[] = Object.values(types);

import * as types from './types.ts';
import type { WorkloadAttestorType } from './workload-attestor.ts';

export {
  createAttestor,
  type Attested,
  type Attestor,
  type AttestorOptions,
  type Wanted,
} from './attestor.ts';
export { linuxKernel, type Kernel, type PeerCredentials } from './kernel.ts';
export { OverflowIds, type IdSpace } from './overflow-ids.ts';
export type { ImageFacts, Peer } from './peer.ts';
export {
  workloadAttestorSchemas,
  type WorkloadAttestorConfiguration,
} from './workload-attestors.ts';
export const workloadAttestorTypes: readonly WorkloadAttestorType[] = Object.values(types);

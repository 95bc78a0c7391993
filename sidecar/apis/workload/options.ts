import type { Clock } from '../../../src/common/runtime/index.ts';
import type { BundleSource } from '../../ports/bundles.ts';
import type { HandshakeCount } from '../../ports/handshakes.ts';
import type { SvidManager } from '../../ports/svids.ts';

export interface WorkloadApiLimits {
  /** Audience sets that a uid has not used lately: each costs a signature of the CA. */
  readonly newAudiencesPerMinute: number;
  readonly newAudiencesBurst: number;
  readonly audiencesPerRequest: number;
  /** How long the first message waits for SVIDs that are still being signed. */
  readonly firstMessageMs: number;
}

/**
 * A JWT-SVID to validate has at most 16 KiB, all audiences of a call together as much: so a request
 * fits into the 24 KiB of the local server's limits.
 */
export const defaultWorkloadApiLimits: WorkloadApiLimits = {
  newAudiencesPerMinute: 60,
  newAudiencesBurst: 256,
  audiencesPerRequest: 16,
  firstMessageMs: 5_000,
};

export interface WorkloadApiDependencies {
  readonly svids: SvidManager;
  readonly bundles: BundleSource;
  /** What a client library counted; checked to be within what the server takes. */
  readonly onHandshakes: (count: HandshakeCount) => void;
  readonly clock: Clock;
  readonly limits: WorkloadApiLimits;
}

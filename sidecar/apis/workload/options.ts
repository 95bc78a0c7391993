import type { Clock } from '../../../src/common/runtime/index.ts';
import type { BundleSource } from '../../ports/bundles.ts';
import type { StreamsWithoutCrls } from './largest-message.ts';
import type { HandshakeCount } from '../../ports/handshakes.ts';
import type { SvidManager } from '../../ports/svids.ts';

export interface WorkloadApiLimits {
  /** New audience sets that a uid may use per minute. Each one costs a signature of the CA. */
  readonly newAudiencesPerMinute: number;
  readonly newAudiencesBurst: number;
  readonly audiencesPerRequest: number;
  /** How long the first message waits for SVIDs that are still being signed. */
  readonly firstMessageMs: number;
}

/**
 * A JWT-SVID to validate has at most 16 KiB, and all audiences of a call together have at most 16
 * KiB. So a request fits into the 24 KiB that the local server admits.
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
  /** Receives the handshakes that a client library counted, within the limits of the server. */
  readonly onHandshakes: (count: HandshakeCount) => void;
  readonly withoutCrls: StreamsWithoutCrls;
  readonly clock: Clock;
  readonly limits: WorkloadApiLimits;
}

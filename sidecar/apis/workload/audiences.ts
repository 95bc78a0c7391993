import { PkiError } from '../../../src/common/errors/index.ts';
import { KeyedBuckets, type Clock } from '../../../src/common/runtime/index.ts';
import { RecentValues, type Session } from '../../local-server/index.ts';
import type { WorkloadApiLimits } from './options.ts';

/**
 * Charges a user for audience sets that it has not used lately. Owner of the sets that each user
 * used.
 */
export class AudienceCharges {
  readonly #fresh: KeyedBuckets;
  readonly #recent: RecentValues;

  constructor(clock: Clock, limits: WorkloadApiLimits) {
    const { newAudiencesPerMinute, newAudiencesBurst } = limits;
    this.#fresh = new KeyedBuckets(
      { perSecond: newAudiencesPerMinute / 60, burst: newAudiencesBurst },
      clock,
    );
    this.#recent = new RecentValues(newAudiencesBurst * 4);
  }

  /** Throws RATE_LIMITED. */
  charge({ connection }: Session, audienceSet: string): void {
    const uid = String(connection.uid);
    if (!this.#recent.has(uid, audienceSet)) {
      const waitMs = this.#fresh.take(uid);
      if (waitMs > 0)
        throw new PkiError(
          'RATE_LIMITED',
          `too many new JWT audiences from this user or control group; wait ${Math.max(1, waitMs)} ms`,
        );
    }
    this.#recent.add(uid, audienceSet);
  }
}

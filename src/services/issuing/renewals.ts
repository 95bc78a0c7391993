import type { RenewalFacts } from '../../domain/index.ts';

interface Counts {
  readonly signed: number;
  readonly failed: number;
}
const none: Counts = { signed: 0, failed: 0 };
/** Maximum number of authorities in memory. The oldest are dropped first. */
const maximumAuthorities = 1_000;

/**
 * Counts the outcomes of requests to each issuing authority, in this process since its start. Owner
 * of the counts.
 */
export class RenewalLedger {
  readonly #counts = new Map<string, Counts>();
  /** The counts of all other authorities at the time when an authority was first compared. */
  readonly #baselines = new Map<string, Counts>();

  record(authorityId: string, outcome: 'signed' | 'failed'): void {
    const before = this.#counts.get(authorityId) ?? none;
    if (this.#counts.size >= maximumAuthorities && !this.#counts.has(authorityId))
      this.#counts.delete(this.#counts.keys().next().value as string);
    this.#counts.set(authorityId, { ...before, [outcome]: before[outcome] + 1 });
  }

  /** Compares from the first call for this authority on. */
  compare(authorityId: string): RenewalFacts {
    const counts = this.#counts.get(authorityId) ?? none;
    const otherCounts = { signed: 0, failed: 0 };
    for (const [id, { signed, failed }] of this.#counts) {
      if (id === authorityId) continue;
      otherCounts.signed += signed;
      otherCounts.failed += failed;
    }
    let baseline = this.#baselines.get(authorityId);
    if (baseline === undefined) this.#baselines.set(authorityId, (baseline = otherCounts));
    return {
      ...counts,
      othersSigned: Math.max(0, otherCounts.signed - baseline.signed),
      othersFailed: Math.max(0, otherCounts.failed - baseline.failed),
    };
  }
}

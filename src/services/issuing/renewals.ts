import type { RenewalFacts } from '../../domain/index.ts';

interface Counts {
  readonly signed: number;
  readonly failed: number;
}
const none: Counts = { signed: 0, failed: 0 };
/** Authorities that signed in the life of one process; the oldest leave first. */
const maximumAuthorities = 1_000;

/**
 * What became of the certificates that were asked of each issuing authority, in this process since
 * its start. Owner of the counts.
 */
export class RenewalLedger {
  readonly #counts = new Map<string, Counts>();
  /** All others, when an authority was first asked about. */
  readonly #baselines = new Map<string, Counts>();

  record(authorityId: string, outcome: 'signed' | 'failed'): void {
    const before = this.#counts.get(authorityId) ?? none;
    if (this.#counts.size >= maximumAuthorities && !this.#counts.has(authorityId))
      this.#counts.delete(this.#counts.keys().next().value as string);
    this.#counts.set(authorityId, { ...before, [outcome]: before[outcome] + 1 });
  }

  /** Counted from the first time that this authority is asked about. */
  compare(authorityId: string): RenewalFacts {
    const own = this.#counts.get(authorityId) ?? none;
    const others = { signed: 0, failed: 0 };
    for (const [id, { signed, failed }] of this.#counts) {
      if (id === authorityId) continue;
      others.signed += signed;
      others.failed += failed;
    }
    let baseline = this.#baselines.get(authorityId);
    if (baseline === undefined) this.#baselines.set(authorityId, (baseline = others));
    return {
      ...own,
      othersSigned: Math.max(0, others.signed - baseline.signed),
      othersFailed: Math.max(0, others.failed - baseline.failed),
    };
  }
}

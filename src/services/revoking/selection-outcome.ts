import type { CertificateRecord } from '../../domain/index.ts';
import type { Revocable } from './revoker.ts';
import type { SelectionOutcome } from './selection-revocations.ts';

const sampleSize = 20;

/** Counts what an act does, or would do. */
export class SelectionTally {
  matched = 0;
  revoked = 0;
  alreadyRevoked = 0;
  unlisted = 0;
  keysBlocked = 0;
  readonly #skipped = new Map<string, { count: number; next: string }>();
  readonly #keys = new Set<string>();
  readonly #holders = new Set<string>();
  readonly #sample: CertificateRecord[] = [];

  skip(kind: string, next: string): void {
    const known = this.#skipped.get(kind);
    if (known === undefined) this.#skipped.set(kind, { count: 1, next });
    else known.count += 1;
  }

  /** `before`: it was revoked already. */
  count({ record, how }: Revocable, before: boolean): void {
    this.matched += 1;
    if (before) {
      this.alreadyRevoked += 1;
      return;
    }
    this.revoked += 1;
    if (how === 'unlisted') this.unlisted += 1;
    this.#keys.add(record.publicKeySha256);
    this.#holders.add(record.holder);
    if (this.#sample.length < sampleSize) this.#sample.push(record);
  }

  outcome(): SelectionOutcome {
    const { matched, revoked, alreadyRevoked, unlisted, keysBlocked } = this;
    return {
      ...{ matched, revoked, alreadyRevoked, unlisted, keysBlocked },
      skipped: this.#skipped,
      keys: this.#keys.size,
      holders: this.#holders.size,
      sample: this.#sample,
    };
  }
}

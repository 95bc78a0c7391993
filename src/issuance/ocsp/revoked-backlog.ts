import type { Revocation } from '../../domain/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';

export interface RevokedPart {
  readonly entries: readonly Revocation[];
  /** Whether they were revoked before the first look. */
  readonly isEarlier: boolean;
}

interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly isEarlier: boolean;
}

/** About a millisecond. */
const rowsAtATime = 256;

/**
 * The revocations of one authority that were not looked at, the newest first: a new one does not
 * wait for the rest of a million. They stay in the memory of the log; here are places alone.
 */
export class RevokedBacklog {
  readonly #authorityId: string;
  readonly #revocations: Pick<LedgerRevocations, 'extent' | 'between'>;
  #of: object | undefined;
  #seen = 0;
  /** The last is the newest. */
  #stretches: Stretch[] = [];

  constructor(authorityId: string, revocations: Pick<LedgerRevocations, 'extent' | 'between'>) {
    this.#authorityId = authorityId;
    this.#revocations = revocations;
  }

  /** Revocations since the first look that were not looked at, those of other authorities included. */
  get waiting(): number {
    return this.#stretches.reduce(
      (sum, { from, to, isEarlier }) => sum + (isEarlier ? 0 : to - from),
      0,
    );
  }

  /** Those that came since the last call, at most some hundred; the others of them wait. */
  takeNew(): RevokedPart {
    const { length, of } = this.#revocations.extent();
    const isFirst = this.#of !== of;
    if (isFirst) {
      this.#of = of;
      this.#stretches = [];
      this.#seen = 0;
    }
    if (length > this.#seen)
      this.#stretches.push({ from: this.#seen, to: length, isEarlier: isFirst });
    this.#seen = length;
    return isFirst ? none : this.#takeSince(length);
  }

  /** Some of those that wait; undefined: none does. */
  takeWaiting(): RevokedPart | undefined {
    return this.#stretches.length === 0 ? undefined : this.#take();
  }

  /** What ends at `length` and was revoked since the first look. */
  #takeSince(length: number): RevokedPart {
    const last = this.#stretches.at(-1);
    return last === undefined || last.isEarlier || last.to !== length ? none : this.#take();
  }

  #take(): RevokedPart {
    const { from, to, isEarlier } = this.#stretches.pop() as Stretch;
    const start = Math.max(from, to - rowsAtATime);
    if (start > from) this.#stretches.push({ from, to: start, isEarlier });
    return {
      entries: [...this.#revocations.between(this.#authorityId, start, to)],
      isEarlier,
    };
  }
}

const none: RevokedPart = { entries: [], isEarlier: false };

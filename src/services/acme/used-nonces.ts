import type { Clock } from '../../common/runtime/index.ts';
import type { NonceMark } from '../../store/ports/index.ts';

/**
 * Nonces that this process has seen used. An effect also marks its nonce in its transaction, so that
 * this memory alone guards requests without an effect. Owner of the marks that have not expired, and
 * of no more than `maximum` of them: beyond, the oldest is forgotten.
 */
export class UsedNonces {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #maximum: number;
  /** In the order of their use. */
  readonly #used = new Map<string, number>();

  constructor(clock: Pick<Clock, 'now'>, maximum = 200_000) {
    this.#clock = clock;
    this.#maximum = maximum;
  }

  get size(): number {
    return this.#used.size;
  }

  /** Marks a nonce. False: it was used before. */
  use({ id, expiresAt }: NonceMark): boolean {
    if (this.#used.has(id)) return false;
    const now = this.#clock.now();
    for (const [oldest, end] of this.#used) {
      if (end > now && this.#used.size < this.#maximum) break;
      this.#used.delete(oldest);
    }
    this.#used.set(id, expiresAt);
    return true;
  }
}

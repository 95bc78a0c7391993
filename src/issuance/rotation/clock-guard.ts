import type { Clock } from '../../common/runtime/index.ts';
import type { RotationStore } from '../../store/ports/index.ts';

/**
 * The present boot of the machine: an ID that changes at each boot, and the time since then,
 * suspension included.
 */
export interface Boot {
  readonly id: string;
  readonly uptimeMs: () => number;
}

export interface ClockGuardDependencies {
  readonly store: Pick<RotationStore, 'clockAnchor' | 'setClockAnchor'>;
  readonly clock: Clock;
  readonly boot: Boot;
  readonly toleranceSeconds: number;
}

/** In this time a steered wall clock gains or loses less than the tolerance. */
const anchorEveryMs = 3_600_000;

/**
 * Tells whether the wall clock has jumped against the time since boot. It compares with a stored
 * pair of both (the anchor), so that a jump during a stop of the server is noticed too. After a
 * reboot no comparison is possible, and the present clock is accepted. A jump lasts until the clock
 * is right again, or an operator accepts it. Owner of the anchor.
 */
export class ClockGuard {
  readonly #dependencies: ClockGuardDependencies;
  #anchor: { readonly uptimeMs: number; readonly wallMs: number } | undefined;

  constructor(dependencies: ClockGuardDependencies) {
    this.#dependencies = dependencies;
  }

  async start(): Promise<void> {
    const { store, boot } = this.#dependencies;
    const kept = await store.clockAnchor();
    if (kept?.bootId === boot.id) this.#anchor = kept;
    else await this.accept();
  }

  /** Seconds that the wall clock is ahead of the expected time; 0 within the tolerance. */
  jumpedSeconds(): number {
    if (this.#anchor === undefined) return 0;
    const { clock, boot, toleranceSeconds } = this.#dependencies;
    const ahead =
      (clock.nowMs() - this.#anchor.wallMs - (boot.uptimeMs() - this.#anchor.uptimeMs)) / 1000;
    return Math.abs(ahead) > toleranceSeconds ? Math.trunc(ahead) : 0;
  }

  /** Called regularly: moves the anchor on while there is no jump. */
  async keep(): Promise<void> {
    if (
      this.#anchor !== undefined &&
      this.jumpedSeconds() === 0 &&
      this.#dependencies.boot.uptimeMs() - this.#anchor.uptimeMs > anchorEveryMs
    )
      await this.accept();
  }

  /** Accepts the present clock as right. */
  async accept(): Promise<void> {
    const { store, clock, boot } = this.#dependencies;
    const anchor = {
      bootId: boot.id,
      uptimeMs: Math.round(boot.uptimeMs()),
      wallMs: clock.nowMs(),
    };
    await store.setClockAnchor(anchor);
    this.#anchor = anchor;
  }
}

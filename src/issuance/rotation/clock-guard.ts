import type { Clock } from '../../common/runtime/index.ts';
import type { RotationStore } from '../../store/ports/index.ts';

/**
 * Of this boot of the machine: an ID that changes with each one, and the time since then,
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

/** A wall clock that is steered gains or loses less than the tolerance in that time. */
const anchorEveryMs = 3_600_000;

/**
 * Tells whether the wall clock has jumped against the time since boot. The pair that it compares
 * with is in the database, so that a jump is noticed also when the server was stopped meanwhile.
 * Across a reboot nothing can be told: the clock of then counts. A jump stands until the clock is
 * back, or an operator accepts it. Owner of the pair.
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

  /**
   * Seconds that the wall clock is ahead of what it should be; 0 while that is inside the
   * tolerance.
   */
  jumpedSeconds(): number {
    if (this.#anchor === undefined) return 0;
    const { clock, boot, toleranceSeconds } = this.#dependencies;
    const ahead =
      (clock.nowMs() - this.#anchor.wallMs - (boot.uptimeMs() - this.#anchor.uptimeMs)) / 1000;
    return Math.abs(ahead) > toleranceSeconds ? Math.trunc(ahead) : 0;
  }

  /** Called now and then: moves the pair on while all is well. */
  async keep(): Promise<void> {
    if (
      this.#anchor !== undefined &&
      this.jumpedSeconds() === 0 &&
      this.#dependencies.boot.uptimeMs() - this.#anchor.uptimeMs > anchorEveryMs
    )
      await this.accept();
  }

  /** The clock as it is now is right. */
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

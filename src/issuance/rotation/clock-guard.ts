import type { Clock } from '../../common/runtime/index.ts';
import type { AuditEvent, ClockStanding, ClockState } from '../../domain/index.ts';
import type { LedgerRotations } from '../../ledger/index.ts';

/**
 * Of this boot of the machine: an ID that changes with each one, and the time since then,
 * suspension included. The ID is empty where the system tells none.
 */
export interface Boot {
  readonly id: string;
  readonly uptimeMs: () => number;
}

export interface ClockGuardDependencies {
  readonly store: Pick<LedgerRotations, 'clock' | 'recordClock'>;
  readonly clock: Clock;
  readonly boot: Boot;
  readonly toleranceSeconds: number;
  /** After a reboot the clock may be that far ahead of the log: so long the server was away. */
  readonly rebootToleranceSeconds: number;
  /** Of the newest record in the log before this process wrote any; undefined: there was none. */
  readonly lastRecordedMs: number | undefined;
}

/** A wall clock that is steered gains or loses less than the tolerance in that time. */
const anchorEveryMs = 3_600_000;

/** An act that makes the clock believed, for its record. */
export type ClockAct = Pick<AuditEvent, 'actor' | 'kind' | 'detail'>;

const anchored: ClockAct = { actor: 'server', kind: 'clock.anchored', detail: {} };

/**
 * Tells whether the wall clock is believed. While the machine runs, the clock is compared with the
 * time since boot: the pair is on record, so that a jump is noticed also when the server was
 * stopped meanwhile. Only the log counts, since whoever moves the clock may write rows as well.
 * Across a reboot the clock is compared with the newest record of the audit log. A jump or a doubt
 * is on record, so that neither records with the time of the doubted clock nor a reboot end it. It
 * stands until the clock is right, or an operator accepts it. Owner of the pair and of the doubt.
 */
export class ClockGuard {
  readonly #dependencies: ClockGuardDependencies;
  #anchor: { readonly uptimeMs: number; readonly wallMs: number } | undefined;
  /** The log was that new when the time since boot was that; undefined: there is no doubt. */
  #doubt:
    | { readonly uptimeMs: number; readonly logMs: number; readonly aheadMs: number }
    | undefined;
  /** Whether the newest record of the clock is a doubt. */
  #recorded = false;

  constructor(dependencies: ClockGuardDependencies) {
    this.#dependencies = dependencies;
  }

  async start(): Promise<void> {
    const { store, boot } = this.#dependencies;
    const said = store.clock();
    const sameBoot = boot.id !== '' && said?.bootId === boot.id;
    this.#recorded = isDoubt(said);
    if (sameBoot && (said.standing === 'believed' || said.standing === 'jumped')) {
      this.#anchor = said;
      return;
    }
    const logMs = this.#logMs(said);
    if (logMs === undefined) return this.accept();
    const uptimeMs = sameBoot ? said.uptimeMs : boot.uptimeMs();
    this.#doubt = { uptimeMs, logMs, aheadMs: this.#allowedAheadMs(said) };
    if (this.#doubtedMs() === 0) await this.#believe();
  }

  standing(): ClockStanding {
    const off = this.jumpedSeconds();
    if (off === 0) return 'believed';
    if (this.#doubt === undefined) return 'jumped';
    return off < 0 ? 'behind-log' : 'unproven';
  }

  /**
   * Seconds that the wall clock is ahead of what it should be, as far as anything tells; 0 while it
   * is believed.
   */
  jumpedSeconds(): number {
    if (this.#doubt !== undefined) return Math.trunc(this.#doubtedMs() / 1000);
    if (this.#anchor === undefined) return 0;
    const { clock, boot, toleranceSeconds } = this.#dependencies;
    const ahead =
      (clock.nowMs() - this.#anchor.wallMs - (boot.uptimeMs() - this.#anchor.uptimeMs)) / 1000;
    return Math.abs(ahead) > toleranceSeconds ? Math.trunc(ahead) : 0;
  }

  /** Called now and then: moves the pair on while all is well, and puts a doubt on record. */
  async keep(): Promise<void> {
    // a record that came into the tree after the start
    if (!this.#recorded && isDoubt(this.#dependencies.store.clock())) await this.start();
    if (this.jumpedSeconds() !== 0) {
      await this.#record();
      return;
    }
    if (this.#doubt !== undefined || this.#recorded) await this.#believe();
    else if (
      this.#anchor !== undefined &&
      this.#dependencies.boot.uptimeMs() - this.#anchor.uptimeMs > anchorEveryMs
    )
      await this.accept();
  }

  /** The clock as it is now is right. `act`: who says so, and why. Default: it was never doubted. */
  async accept(act: ClockAct = anchored): Promise<void> {
    const { store, clock, boot } = this.#dependencies;
    const anchor: ClockState = {
      bootId: boot.id,
      uptimeMs: Math.round(boot.uptimeMs()),
      wallMs: clock.nowMs(),
      standing: 'believed',
      seconds: 0,
    };
    await store.recordClock(anchor, this.#event(act));
    this.#anchor = anchor;
    this.#doubt = undefined;
    this.#recorded = false;
  }

  /** The clock is where it should be, at the start or since it was set. */
  async #believe(): Promise<void> {
    const reason =
      this.#doubt === undefined ? 'it agrees with the time since boot' : 'it is near the audit log';
    await this.accept(
      this.#recorded ? { actor: 'server', kind: 'clock.accepted', detail: { reason } } : anchored,
    );
  }

  async #record(): Promise<void> {
    const { store, boot } = this.#dependencies;
    const basis =
      this.#doubt ??
      (this.#anchor && { logMs: this.#anchor.wallMs, uptimeMs: this.#anchor.uptimeMs });
    if (this.#recorded || basis === undefined) return;
    await store.recordClock(
      {
        bootId: boot.id,
        uptimeMs: Math.round(basis.uptimeMs),
        wallMs: basis.logMs,
        standing: this.standing(),
        seconds: this.jumpedSeconds(),
      },
      this.#event({ actor: 'server', kind: 'clock.doubted', detail: {} }),
    );
    this.#recorded = true;
  }

  #event(act: ClockAct): AuditEvent {
    return { ...act, timeMs: this.#dependencies.clock.nowMs(), subject: 'clock' };
  }

  /**
   * The newest time that the log vouches for. Nobody vouches for the time of its newest row, so that
   * it counts only as far as the server can have gone on since the newest record of the clock.
   */
  #logMs(said: ClockState | undefined): number | undefined {
    const { lastRecordedMs } = this.#dependencies;
    if (said === undefined) return lastRecordedMs;
    if (lastRecordedMs === undefined || said.standing !== 'believed') return said.wallMs;
    return Math.max(said.wallMs, Math.min(lastRecordedMs, said.wallMs + 2 * anchorEveryMs));
  }

  /**
   * How far the clock may be ahead of what the log says. After a jump on record a clock that is
   * still that far ahead has not been set right. After a jump back it is never known how much of
   * the difference is time that passed.
   */
  #allowedAheadMs(said: ClockState | undefined): number {
    const { toleranceSeconds, rebootToleranceSeconds } = this.#dependencies;
    if (said?.standing !== 'jumped') return rebootToleranceSeconds * 1000;
    const seconds = said.seconds - toleranceSeconds;
    return Math.max(toleranceSeconds, Math.min(rebootToleranceSeconds, seconds)) * 1000;
  }

  /** How far the clock is outside of what the log allows; 0: it is inside. */
  #doubtedMs(): number {
    const { clock, boot, toleranceSeconds } = this.#dependencies;
    if (this.#doubt === undefined) return 0;
    const { logMs, uptimeMs, aheadMs } = this.#doubt;
    const off = clock.nowMs() - logMs - (boot.uptimeMs() - uptimeMs);
    return off < -toleranceSeconds * 1000 || off > aheadMs ? off : 0;
  }
}

const isDoubt = (said: ClockState | undefined): boolean =>
  said !== undefined && said.standing !== 'believed';

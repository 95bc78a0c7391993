import type { Clock } from '../../common/runtime/index.ts';
import {
  readCanonical,
  type AuditEvent,
  type AuditRecord,
  type ClockStanding,
} from '../../domain/index.ts';
import type { AuditStore, RotationStore } from '../../store/ports/index.ts';

/**
 * Of this boot of the machine: an ID that changes with each one, and the time since then,
 * suspension included. The ID is empty where the system tells none.
 */
export interface Boot {
  readonly id: string;
  readonly uptimeMs: () => number;
}

export interface ClockGuardDependencies {
  readonly store: Pick<RotationStore, 'clockAnchor' | 'setClockAnchor'>;
  readonly audit: Pick<AuditStore, 'append' | 'list'>;
  readonly clock: Clock;
  readonly boot: Boot;
  readonly toleranceSeconds: number;
  /** After a reboot the clock may be that far ahead of the log: so long the server was away. */
  readonly rebootToleranceSeconds: number;
  /** Of the newest record in the log before this process wrote any; undefined: there was none. */
  readonly lastRecordedMs: number | undefined;
}

/** What `clock.doubted` says. */
interface RecordedDoubt {
  readonly standing: ClockStanding;
  /** How far the clock was ahead of what it should be. */
  readonly seconds: number;
  /** The newest time that was believed, and the time since boot then. */
  readonly logMs: number;
  readonly bootId: string;
  readonly uptimeMs: number;
}

/** A wall clock that is steered gains or loses less than the tolerance in that time. */
const anchorEveryMs = 3_600_000;

/**
 * Tells whether the wall clock is believed. While the machine runs, the clock is compared with the
 * time since boot: the pair is in the database, so that a jump is noticed also when the server was
 * stopped meanwhile. Across a reboot the clock is compared with the newest record of the audit log.
 * A jump or a doubt is on record, so that neither records with the time of the doubted clock nor a
 * reboot end it. It stands until the clock is right, or an operator accepts it. Owner of the pair
 * and of the doubt.
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
    const { store, boot, lastRecordedMs } = this.#dependencies;
    const kept = await store.clockAnchor();
    const open = await this.#openDoubt();
    this.#recorded = open !== undefined;
    const sameBoot = (bootId: string | undefined): boolean => boot.id !== '' && bootId === boot.id;
    if (sameBoot(kept?.bootId)) {
      this.#anchor = kept;
      return;
    }
    const logMs = open?.logMs ?? lastRecordedMs;
    if (logMs === undefined) return this.accept();
    const uptimeMs = open !== undefined && sameBoot(open.bootId) ? open.uptimeMs : boot.uptimeMs();
    this.#doubt = { uptimeMs, logMs, aheadMs: this.#allowedAheadMs(open) };
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

  /** The clock as it is now is right. Whoever says so has put `clock.accepted` on record. */
  async accept(): Promise<void> {
    const { store, clock, boot } = this.#dependencies;
    const anchor = {
      bootId: boot.id,
      uptimeMs: Math.round(boot.uptimeMs()),
      wallMs: clock.nowMs(),
    };
    await store.setClockAnchor(anchor);
    this.#anchor = anchor;
    this.#doubt = undefined;
    this.#recorded = false;
  }

  /** The clock is where it should be, at the start or since it was set. */
  async #believe(): Promise<void> {
    const reason =
      this.#doubt === undefined ? 'it agrees with the time since boot' : 'it is near the audit log';
    if (this.#recorded)
      await this.#dependencies.audit.append([this.#event('clock.accepted', { reason })]);
    await this.accept();
  }

  async #record(): Promise<void> {
    const { audit, boot } = this.#dependencies;
    const basis =
      this.#doubt ??
      (this.#anchor && { logMs: this.#anchor.wallMs, uptimeMs: this.#anchor.uptimeMs });
    if (this.#recorded || basis === undefined) return;
    await audit.append([
      this.#event('clock.doubted', {
        standing: this.standing(),
        seconds: this.jumpedSeconds(),
        logMs: basis.logMs,
        bootId: boot.id,
        uptimeMs: Math.round(basis.uptimeMs),
      }),
    ]);
    this.#recorded = true;
  }

  /** A doubt that is on record and was not ended. */
  async #openDoubt(): Promise<RecordedDoubt | undefined> {
    const newest = async (kind: string): Promise<AuditRecord | undefined> => {
      const { audit } = this.#dependencies;
      return (await audit.list({ kind, newestFirst: true }, { size: 1 })).items[0];
    };
    const doubt = await newest('clock.doubted');
    const accepted = await newest('clock.accepted');
    if (doubt === undefined || doubt.sequence < (accepted?.sequence ?? 0)) return undefined;
    return readCanonical(doubt.canonical)?.detail as RecordedDoubt | undefined;
  }

  #event(kind: string, detail: AuditEvent['detail']): AuditEvent {
    const timeMs = this.#dependencies.clock.nowMs();
    return { timeMs, actor: 'server', kind, subject: 'clock', detail };
  }

  /**
   * How far the clock may be ahead of what the log says. After a jump on record a clock that is
   * still that far ahead has not been set right. After a jump back it is never known how much of
   * the difference is time that passed.
   */
  #allowedAheadMs(open: RecordedDoubt | undefined): number {
    const { toleranceSeconds, rebootToleranceSeconds } = this.#dependencies;
    if (open?.standing !== 'jumped') return rebootToleranceSeconds * 1000;
    const seconds = open.seconds - toleranceSeconds;
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

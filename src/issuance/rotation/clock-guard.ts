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
  readonly logMs: number;
  readonly bootId: string;
  readonly uptimeMs: number;
}

/** A wall clock that is steered gains or loses less than the tolerance in that time. */
const anchorEveryMs = 3_600_000;
const doubted = 'clock.doubted';
const accepted = 'clock.accepted';

/**
 * Tells whether the wall clock is believed. While the machine runs, the clock is compared with the
 * time since boot: the pair is in the database, so that a jump is noticed also when the server was
 * stopped meanwhile. Across a reboot the clock is compared with the newest record of the audit log.
 * A doubt is on record, so that records with the time of the doubted clock do not end it. A jump or
 * a doubt stands until the clock is right, or an operator accepts it. Owner of the pair and of the
 * doubt.
 */
export class ClockGuard {
  readonly #dependencies: ClockGuardDependencies;
  #anchor: { readonly uptimeMs: number; readonly wallMs: number } | undefined;
  /** The log was that new when the time since boot was that; undefined: there is no doubt. */
  #doubt: { readonly uptimeMs: number; readonly logMs: number } | undefined;
  #unrecorded = false;

  constructor(dependencies: ClockGuardDependencies) {
    this.#dependencies = dependencies;
  }

  async start(): Promise<void> {
    const { store, boot, lastRecordedMs } = this.#dependencies;
    const kept = await store.clockAnchor();
    const open = await this.#openDoubt();
    const sameBoot = (bootId: string | undefined): boolean => boot.id !== '' && bootId === boot.id;
    if (open === undefined && sameBoot(kept?.bootId)) {
      this.#anchor = kept;
      return;
    }
    const logMs = open?.logMs ?? lastRecordedMs;
    if (logMs === undefined) return this.accept();
    const uptimeMs = open !== undefined && sameBoot(open.bootId) ? open.uptimeMs : boot.uptimeMs();
    this.#doubt = { uptimeMs, logMs };
    this.#unrecorded = open === undefined;
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
    if (this.#doubt !== undefined) await this.#believe();
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
  }

  /** The clock is near the log, at the start or since it was set. */
  async #believe(): Promise<void> {
    if (!this.#unrecorded)
      await this.#dependencies.audit.append([
        this.#event(accepted, { reason: 'it is near the audit log' }),
      ]);
    await this.accept();
  }

  async #record(): Promise<void> {
    const { audit, boot } = this.#dependencies;
    if (!this.#unrecorded || this.#doubt === undefined) return;
    const { logMs, uptimeMs } = this.#doubt;
    await audit.append([
      this.#event(doubted, {
        standing: this.standing(),
        seconds: this.jumpedSeconds(),
        logMs,
        bootId: boot.id,
        uptimeMs: Math.round(uptimeMs),
      }),
    ]);
    this.#unrecorded = false;
  }

  /** A doubt that is on record and was not ended. */
  async #openDoubt(): Promise<RecordedDoubt | undefined> {
    const newest = async (kind: string): Promise<AuditRecord | undefined> => {
      const { audit } = this.#dependencies;
      return (await audit.list({ kind, newestFirst: true }, { size: 1 })).items[0];
    };
    const doubt = await newest(doubted);
    if (doubt === undefined || doubt.sequence < ((await newest(accepted))?.sequence ?? 0))
      return undefined;
    return readCanonical(doubt.canonical)?.detail as RecordedDoubt | undefined;
  }

  #event(kind: string, detail: AuditEvent['detail']): AuditEvent {
    const timeMs = this.#dependencies.clock.nowMs();
    return { timeMs, actor: 'server', kind, subject: 'clock', detail };
  }

  /** How far the clock is outside of what the log allows; 0: it is inside. */
  #doubtedMs(): number {
    const { clock, boot, toleranceSeconds, rebootToleranceSeconds } = this.#dependencies;
    if (this.#doubt === undefined) return 0;
    const off = clock.nowMs() - this.#doubt.logMs - (boot.uptimeMs() - this.#doubt.uptimeMs);
    return off < -toleranceSeconds * 1000 || off > rebootToleranceSeconds * 1000 ? off : 0;
  }
}

import type { Clock } from '../../common/runtime/index.ts';
import { leafHash, readCanonical } from '../../domain/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';

/** The kind of the record that a server writes when it comes back. */
const returnedKind = 'server.returned';
/** A shorter absence is a restart, and leaves no record. */
const shortestAwayMs = 300_000;
/** All absences together count no more, whatever is on record. */
const longestAwaySeconds = 90 * 86_400;

export interface ServerReturnDependencies {
  readonly audit: Pick<AuditStore, 'append'>;
  readonly clock: Clock;
  /** When the last process of this database was last alive; undefined: there was none. */
  readonly lastAliveMs: number | undefined;
  /** While the clock is not believed, nobody knows how long the server was away. */
  readonly clockBelieved: () => boolean;
  readonly failed: (thrown: unknown) => void;
}

const lookAgainMs = 60_000;

/**
 * Puts on record, once, that the server was away and for how long, as soon as its clock is
 * believed. Returns the function that ends the waiting for that.
 */
export function recordReturn(dependencies: ServerReturnDependencies): () => void {
  const { audit, clock, lastAliveMs, clockBelieved, failed } = dependencies;
  const startedMs = clock.monotonicMs();
  let cancel = (): void => {};
  const look = (): void => {
    if (lastAliveMs === undefined) return;
    if (!clockBelieved()) {
      cancel = clock.after(lookAgainMs, look);
      return;
    }
    const timeMs = clock.nowMs();
    // the clock may have been set since the start
    const returnedMs = Math.floor(timeMs - (clock.monotonicMs() - startedMs));
    if (returnedMs - lastAliveMs < shortestAwayMs) return;
    const detail = { awaySinceMs: lastAliveMs, returnedMs };
    audit
      .append([{ timeMs, actor: 'server', kind: returnedKind, subject: 'server', detail }])
      .catch(failed);
  };
  look();
  return () => cancel();
}

export interface ServerAbsencesDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly facts: Pick<LogFacts, 'holds'>;
  readonly clock: Pick<Clock, 'nowMs'>;
}

/** Tells from the log how long no server ran. Only records count that the signed tree holds. */
export class ServerAbsences {
  readonly #dependencies: ServerAbsencesDependencies;

  constructor(dependencies: ServerAbsencesDependencies) {
    this.#dependencies = dependencies;
  }

  /** Seconds since this instant (Unix seconds) in which no server ran, at most 90 days. */
  async secondsSince(instant: number): Promise<number> {
    const { audit, clock } = this.#dependencies;
    const untilMs = clock.nowMs();
    let countedMs = instant * 1000;
    let awayMs = 0;
    for await (const records of pagesOf((page) =>
      audit.list({ kind: returnedKind, sinceMs: instant * 1000 }, page),
    ))
      for (const { sequence, canonical } of records) {
        const away = await this.#absence(sequence, canonical);
        if (away === undefined) continue;
        const fromMs = Math.max(away.awaySinceMs, countedMs);
        const toMs = Math.min(away.returnedMs, untilMs);
        if (toMs <= fromMs) continue;
        awayMs += toMs - fromMs;
        countedMs = toMs;
      }
    return Math.min(Math.floor(awayMs / 1000), longestAwaySeconds);
  }

  async #absence(
    sequence: number,
    canonical: Buffer,
  ): Promise<{ readonly awaySinceMs: number; readonly returnedMs: number } | undefined> {
    const content = readCanonical(canonical);
    if (content?.kind !== returnedKind) return undefined;
    const { awaySinceMs, returnedMs } = content.detail;
    if (typeof awaySinceMs !== 'number' || typeof returnedMs !== 'number') return undefined;
    return (await this.#dependencies.facts.holds(sequence, leafHash(canonical)))
      ? { awaySinceMs, returnedMs }
      : undefined;
  }
}

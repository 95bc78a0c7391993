import { readCanonical, type AuditEvent } from '../domain/index.ts';

/** A restore of the database whose loss an operator accepted. */
export interface AcceptedRestore {
  /** Unix milliseconds: when the loss was accepted. */
  readonly acceptedMs: number;
  /** The begin of the time whose records are lost; the record states none: `acceptedMs`. */
  readonly lostFromMs: number;
}

const kind = 'database.restored';
/** Inside a JSON string the quotes would be escaped, so that these bytes mark the field only. */
const mark = Buffer.from(`"kind":"${kind}"`);

export function restoredIn(event: AuditEvent): AcceptedRestore | undefined {
  if (event.kind !== kind) return undefined;
  const { lostFromMs } = event.detail;
  const acceptedMs = event.timeMs;
  return { acceptedMs, lostFromMs: typeof lostFromMs === 'number' ? lostFromMs : acceptedMs };
}

/** The same from the bytes of a record. */
export function restoredFrom(canonical: Buffer): AcceptedRestore | undefined {
  const event = canonical.includes(mark) ? readCanonical(canonical) : undefined;
  return event === undefined ? undefined : restoredIn(event);
}

/** The restores by the records of the log, whatever became of the rows. Owner of that memory. */
export class Restores {
  readonly #lostFrom = new Map<number, number>();

  apply({ acceptedMs, lostFromMs }: AcceptedRestore): void {
    this.#lostFrom.set(
      acceptedMs,
      Math.min(lostFromMs, this.#lostFrom.get(acceptedMs) ?? lostFromMs),
    );
  }

  /** The latest one first. */
  all(): readonly AcceptedRestore[] {
    return [...this.#lostFrom]
      .map(([acceptedMs, lostFromMs]) => ({ acceptedMs, lostFromMs }))
      .toSorted((one, other) => other.acceptedMs - one.acceptedMs);
  }
}

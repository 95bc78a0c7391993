import { PkiError } from '../common/errors/index.ts';
import { nearest } from '../common/runtime/nearest.ts';
import { actKinds, recordKinds } from '../common/tlog/index.ts';
import type { AuditRecord__Output } from '../common/wire/generated/meshca/admin/v1/AuditRecord.ts';

export interface KindFlags {
  readonly kind?: readonly string[];
  readonly notKind?: readonly string[];
  readonly acts?: boolean;
}

export interface WantedKinds {
  /** One call asks for each of these kinds. Undefined: all records are read. */
  readonly asked: readonly string[] | undefined;
  readonly isWanted: (kind: string) => boolean;
}

/** Throws INVALID_REQUEST for a pattern that no kind fits. */
export function wantedKinds({ kind, notKind, acts }: KindFlags): WantedKinds {
  const wanted = kind?.map(kindsOf).flat();
  const left = new Set(notKind?.map(kindsOf).flat());
  const administrative: readonly string[] = actKinds;
  const chosen = [...new Set(wanted ?? (acts === true ? administrative : recordKinds))].filter(
    (kind) => !left.has(kind) && (acts !== true || administrative.includes(kind)),
  );
  if (chosen.length === 0)
    throw new PkiError('INVALID_REQUEST', 'these options exclude every kind of record', {
      next: 'Exclude fewer kinds.',
    });
  // without a choice of kinds, the answer includes kinds of a newer server
  if (wanted === undefined && acts !== true)
    return { asked: undefined, isWanted: (kind) => !left.has(kind) };
  return { asked: chosen, isWanted: (kind) => chosen.includes(kind) };
}

/** The kinds that match a pattern. `*` is any text. */
function kindsOf(pattern: string): readonly string[] {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[^a-z.-]/g, '\\$&'));
  const form = new RegExp(`^${parts.join('.*')}$`);
  const fitting = recordKinds.filter((kind) => form.test(kind));
  if (fitting.length > 0) return fitting;
  const near = nearest(pattern, recordKinds);
  throw new PkiError(
    'INVALID_REQUEST',
    `no record has the kind ${JSON.stringify(pattern)}${near === undefined ? '' : `; did you mean ${near}?`}`,
    { next: `The kinds are ${recordKinds.join(', ')}; "*" matches any text.` },
  );
}

/** An identity, serial or refusal may be the subject of a record, or stand in its detail. */
export function concerns(
  record: AuditRecord__Output,
  {
    identity,
    serial,
    refusal,
  }: { readonly identity?: string; readonly serial?: string; readonly refusal?: string },
): boolean {
  if (identity === undefined && serial === undefined && refusal === undefined) return true;
  const texts = Object.values(detailOf(record)).flat().map(String);
  const isIn = (text: string): boolean => record.subject === text || texts.includes(text);
  return (
    (identity === undefined || isIn(identity)) &&
    (refusal === undefined || isIn(refusal.toLowerCase())) &&
    (serial === undefined || isIn(serial.toLowerCase().replaceAll(':', '')))
  );
}

/** Between a refusal and its record. */
const recordedWithinMs = 60_000;

/**
 * Where the record of a refusal stands: its ID is a UUIDv7, which begins with the time (RFC 9562
 * section 5.7). Throws INVALID_REQUEST.
 */
export function placeOfRefusal(id: string): {
  readonly sinceMs: number;
  readonly untilMs: number;
} {
  const [, ...time] =
    /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.exec(id) ?? [];
  if (time.length === 0)
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(id.slice(0, 80))} is no refusal ID`, {
      next: 'Give the one of the answer (trailer meshca-refusal-id), or of the log of the server.',
    });
  const atMs = Number.parseInt(time.join(''), 16);
  return { sinceMs: atMs - recordedWithinMs, untilMs: atMs + recordedWithinMs };
}

export function detailOf(
  record: Pick<AuditRecord__Output, 'canonical'>,
): Readonly<Record<string, unknown>> {
  const text = record.canonical.toString('utf8');
  return (
    (JSON.parse(text.slice(text.indexOf('\n') + 1)) as { detail?: Record<string, unknown> })
      .detail ?? {}
  );
}

/** Merges sequences that are in order. */
export async function* merged<T>(
  sources: readonly AsyncIterator<T>[],
  isBefore: (one: T, other: T) => boolean,
): AsyncGenerator<T> {
  const heads = await Promise.all(sources.map((source) => source.next()));
  for (;;) {
    let first: number | undefined;
    for (const [index, head] of heads.entries())
      if (head.done !== true) {
        const best = first === undefined ? undefined : heads[first];
        if (best === undefined || best.done === true || isBefore(head.value, best.value))
          first = index;
      }
    if (first === undefined) return;
    yield (heads[first] as IteratorYieldResult<T>).value;
    heads[first] = await (sources[first] as AsyncIterator<T>).next();
  }
}

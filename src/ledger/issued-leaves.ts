import { readCanonical, type AuditEvent } from '../domain/index.ts';
import type { Clock } from '../common/runtime/index.ts';

/** The facts of an issuance in its record. */
export interface IssuedLeaf {
  readonly holder: string;
  readonly authorityId: string;
  readonly atMs: number;
  readonly notAfter: number;
}

export interface IssuedContent {
  readonly holders: readonly (readonly [holder: string, last: number])[];
  readonly authorities: readonly (readonly [id: string, last: number])[];
  readonly given: readonly (readonly [holder: string, start: number, last: number])[];
}

const kind = 'certificate.issued';
/** Inside a JSON string the quotes would be escaped, so that these bytes mark fields only. */
const kindMark = Buffer.from(`"kind":"${kind}"`);
const endMark = Buffer.from('"notAfter":');
/** A leaf that expired longer ago matters to nobody, even with a slow clock. */
const keptSeconds = 86_400;
const bucketsPerLife = 256;

/**
 * The latest notAfter of leaves by the records of the log: by holder, by authority, and for holders
 * that are no agents by the time of issuance. Rows of the inventory can be removed. This memory
 * still shows who may come back and which authorities are in use. It only adds to the rows. Owner
 * of that memory.
 */
export class IssuedLeaves {
  readonly #clock: Clock;
  readonly #isAgent: (holder: string) => boolean;
  #byHolder = new Map<string, number>();
  #byAuthority = new Map<string, number>();
  /**
   * For holders that were no agents at issuance: the latest notAfter of the leaves issued since an
   * instant (Unix seconds). The instants are rounded to a small part of the leaf's life.
   */
  #given = new Map<string, Map<number, number>>();

  /** `isAgent`: whether the log has an agent with this name. */
  constructor(clock: Clock, isAgent: (holder: string) => boolean) {
    this.#clock = clock;
    this.#isAgent = isAgent;
  }

  apply({ holder, authorityId, atMs, notAfter }: IssuedLeaf): void {
    if (notAfter < this.#clock.now() - keptSeconds) return;
    raise(this.#byHolder, holder, notAfter);
    raise(this.#byAuthority, authorityId, notAfter);
    if (holder === 'server' || this.#isAgent(holder)) return;
    const at = Math.floor(atMs / 1000);
    const width =
      2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, (notAfter - at) / bucketsPerLife))));
    let issued = this.#given.get(holder);
    if (issued === undefined) this.#given.set(holder, (issued = new Map()));
    const bucket = Math.floor(at / width) * width;
    if (!issued.has(bucket))
      for (const [start, last] of issued)
        if (last < this.#clock.now() - keptSeconds) issued.delete(start);
    raise(issued, bucket, notAfter);
  }

  /** The content without expired leaves. */
  copy(): IssuedContent {
    const until = this.#clock.now() - keptSeconds;
    const unheld: [string, number, number][] = [];
    for (const [holder, starts] of this.#given)
      for (const [start, last] of starts) if (last >= until) unheld.push([holder, start, last]);
    return {
      holders: [...this.#byHolder].filter(([, last]) => last >= until),
      authorities: [...this.#byAuthority].filter(([, last]) => last >= until),
      given: unheld,
    };
  }

  /** Adds content, and removes nothing. */
  add({ holders, authorities, given }: IssuedContent): void {
    for (const [holder, last] of holders) raise(this.#byHolder, holder, last);
    for (const [id, last] of authorities) raise(this.#byAuthority, id, last);
    for (const [holder, start, last] of given) {
      let starts = this.#given.get(holder);
      if (starts === undefined) this.#given.set(holder, (starts = new Map()));
      raise(starts, start, last);
    }
  }

  /**
   * Takes over the content of another memory and drops its own. The other one must not be used any
   * more.
   */
  become(other: IssuedLeaves): void {
    this.#byHolder = other.#byHolder;
    this.#byAuthority = other.#byAuthority;
    this.#given = other.#given;
  }

  /** The latest notAfter by holder, without holders whose leaves have expired at `now`. */
  holders(now: number): ReadonlyMap<string, number> {
    for (const [holder, last] of this.#byHolder)
      if (last < this.#clock.now() - keptSeconds) this.#byHolder.delete(holder);
    return new Map([...this.#byHolder].filter(([, last]) => last >= now));
  }

  lastOf(authorityId: string): number {
    return this.#byAuthority.get(authorityId) ?? 0;
  }

  authorities(): Iterable<string> {
    return this.#byAuthority.keys();
  }

  /**
   * The latest notAfter of the leaves that were issued until `since` to holders that are no agents;
   * or 0.
   */
  unheldUntil(since: number): number {
    let until = 0;
    for (const [holder, issued] of this.#given) {
      if (this.#isAgent(holder)) continue;
      for (const [start, last] of issued) if (start <= since + 1) until = Math.max(until, last);
    }
    return until;
  }
}

export function issuedIn({ kind: eventKind, detail, timeMs }: AuditEvent): IssuedLeaf | undefined {
  if (eventKind !== kind) return undefined;
  const { holder, authority, notAfter } = detail;
  return typeof holder === 'string' && typeof authority === 'string' && typeof notAfter === 'number'
    ? { holder, authorityId: authority, notAfter, atMs: timeMs }
    : undefined;
}

/**
 * The same from the bytes of a record, if the leaf may still matter. Most records of a long log
 * concern expired leaves and are not parsed.
 */
export function issuedFrom(canonical: Buffer, now: number): IssuedLeaf | undefined {
  if (!canonical.includes(kindMark)) return undefined;
  const at = canonical.indexOf(endMark);
  if (
    at < 0 ||
    Number.parseInt(
      canonical.toString('latin1', at + endMark.length, at + endMark.length + 12),
      10,
    ) <
      now - keptSeconds
  )
    return undefined;
  const event = readCanonical(canonical);
  return event === undefined ? undefined : issuedIn(event);
}

function raise<K>(map: Map<K, number>, key: K, value: number): void {
  const before = map.get(key);
  if (before === undefined || before < value) map.set(key, value);
}

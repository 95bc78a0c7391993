import { readCanonical, type AuditEvent } from '../domain/index.ts';
import type { Clock } from '../common/runtime/index.ts';

/** What the record of an issuance says. */
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
/** Inside a string the quotes would be escaped. */
const kindMark = Buffer.from(`"kind":"${kind}"`);
const endMark = Buffer.from('"notAfter":');
/** What has been over for longer matters to nobody, however much a clock runs behind. */
const keptSeconds = 86_400;
const bucketsPerLife = 256;

/**
 * Until when leaves are valid that the log has: by holder, by authority, and for holders that are
 * no agents by the time when they were given. Rows of the inventory can be taken away; who may
 * still come back, and what must not be cut off, is known without them. It only adds to what the
 * rows say. Owner of that memory.
 */
export class IssuedLeaves {
  readonly #clock: Clock;
  readonly #isAgent: (holder: string) => boolean;
  #byHolder = new Map<string, number>();
  #byAuthority = new Map<string, number>();
  /**
   * Of holders that were no agents then: latest notAfter of what was given from an instant (Unix
   * seconds) on, for a small part of its life.
   */
  #given = new Map<string, Map<number, number>>();

  /** `isAgent`: whether the log has an agent of this name. */
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
    let given = this.#given.get(holder);
    if (given === undefined) this.#given.set(holder, (given = new Map()));
    const bucket = Math.floor(at / width) * width;
    if (!given.has(bucket))
      for (const [start, last] of given)
        if (last < this.#clock.now() - keptSeconds) given.delete(start);
    raise(given, bucket, notAfter);
  }

  /** What may still matter. */
  copy(): IssuedContent {
    const until = this.#clock.now() - keptSeconds;
    const given: [string, number, number][] = [];
    for (const [holder, starts] of this.#given)
      for (const [start, last] of starts) if (last >= until) given.push([holder, start, last]);
    return {
      holders: [...this.#byHolder].filter(([, last]) => last >= until),
      authorities: [...this.#byAuthority].filter(([, last]) => last >= until),
      given,
    };
  }

  /** It only adds. */
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
   * Takes all that another one knows, in the place of what it knew. The other is not used any more.
   */
  become(other: IssuedLeaves): void {
    this.#byHolder = other.#byHolder;
    this.#byAuthority = other.#byAuthority;
    this.#given = other.#given;
  }

  /** Latest notAfter by holder, of those that are not over at `now`. */
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

  /** Latest notAfter of what holders that are no agents were given up to `since`, or 0. */
  unheldUntil(since: number): number {
    let until = 0;
    for (const [holder, given] of this.#given) {
      if (this.#isAgent(holder)) continue;
      for (const [start, last] of given) if (start <= since + 1) until = Math.max(until, last);
    }
    return until;
  }
}

export function issuedIn({ kind: what, detail, timeMs }: AuditEvent): IssuedLeaf | undefined {
  if (what !== kind) return undefined;
  const { holder, authority, notAfter } = detail;
  return typeof holder === 'string' && typeof authority === 'string' && typeof notAfter === 'number'
    ? { holder, authorityId: authority, notAfter, atMs: timeMs }
    : undefined;
}

/**
 * The same from a record as it stands, where it may still matter: most of a long log is over, and
 * is not parsed.
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
  const said = readCanonical(canonical);
  return said === undefined ? undefined : issuedIn(said);
}

function raise<K>(map: Map<K, number>, key: K, value: number): void {
  const before = map.get(key);
  if (before === undefined || before < value) map.set(key, value);
}

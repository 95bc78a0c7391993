import type { Clock } from '../common/runtime/index.ts';
import { isServerHolder, keepsItsRoots, renewsItsRoots } from '../domain/index.ts';
import type { Issued, RecordedLeaf } from './issued-record.ts';
import { UnreplacedLeaves } from './unreplaced-leaves.ts';

export interface IssuedContent {
  readonly holders: readonly (readonly [holder: string, last: number])[];
  readonly authorities: readonly (readonly [id: string, last: number])[];
  readonly given: readonly (readonly [holder: string, start: number, last: number])[];
  readonly downstream: readonly (readonly [serial: string, authority: string, last: number])[];
  readonly watchers: readonly (readonly [watcher: string, last: number])[];
}

/** A leaf that expired longer ago matters to nobody, even with a slow clock. */
const keptSeconds = 86_400;
const bucketsPerLife = 256;

/**
 * The latest end of leaves and JWT-SVIDs by the records of the log: by holder, by authority, and for
 * holders that are no agents by the time of issuance. Rows of the inventory can be removed. This
 * memory still shows who may come back and which authorities are in use. It only adds to the rows.
 * Owner of that memory.
 */
export class IssuedLeaves {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #isAgent: (holder: string) => boolean;
  readonly #isRevoked: (serial: string) => boolean;
  /** Leaves that no holder has replaced. */
  readonly unreplaced: UnreplacedLeaves;
  #byHolder = new Map<string, number>();
  #byAuthority = new Map<string, number>();
  /**
   * For holders that were no agents at issuance: the latest notAfter of the leaves issued since an
   * instant (Unix seconds). The instants are rounded to a small part of the leaf's life.
   */
  #given = new Map<string, Map<number, number>>();
  /** Certificates of downstream CAs by serial: few, and each ends when it is revoked. */
  #downstream = new Map<string, { readonly authorityId: string; readonly notAfter: number }>();
  /** The latest end of the certificates with which each process watched the bundle, see `watcherKey`. */
  #watchers = new Map<string, number>();
  /** Of processes that have left, so that older records do not bring them back. */
  #left = new Map<string, number>();

  /** What the log says: whether it has an agent with this name, and whether a serial is revoked. */
  constructor(
    clock: Pick<Clock, 'now'>,
    log: {
      readonly isAgent: (holder: string) => boolean;
      readonly isRevoked: (serial: string) => boolean;
    },
  ) {
    this.#clock = clock;
    this.#isAgent = log.isAgent;
    this.#isRevoked = log.isRevoked;
    this.unreplaced = new UnreplacedLeaves(clock);
  }

  /** Leaves that ended earlier than this (Unix seconds) are forgotten. */
  get keptFrom(): number {
    return this.#clock.now() - keptSeconds;
  }

  apply(issued: Issued): void {
    const { notAfter } = issued;
    if (notAfter < this.keptFrom) return;
    if (issued.of === 'watch' || issued.of === 'left') {
      this.#applyWatching(issued.of, watcherKey(issued.holder, issued.instance), notAfter);
      return;
    }
    const { authorityId } = issued;
    if (issued.of === 'downstream') {
      this.#downstream.set(issued.serial, { authorityId, notAfter });
      return;
    }
    raise(this.#byAuthority, authorityId, notAfter);
    if (issued.of === 'leaf') this.#applyLeaf(issued);
  }

  #applyWatching(of: 'watch' | 'left', watcher: string, notAfter: number): void {
    if (of === 'watch') {
      this.#left.delete(watcher);
      raise(this.#watchers, watcher, notAfter);
    } else {
      this.#watchers.delete(watcher);
      this.#left.set(watcher, notAfter);
    }
  }

  #applyLeaf(leaf: RecordedLeaf): void {
    const { holder, atMs, notAfter } = leaf;
    this.unreplaced.apply(leaf);
    // a certificate for names is no credential of the mesh, and its holder awaits no root of it
    if (leaf.kind === 'endpoint') return;
    raise(this.#byHolder, holder, notAfter);
    if (isServerHolder(holder) || this.#isAgent(holder)) return;
    const at = Math.floor(atMs / 1000);
    const width =
      2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, (notAfter - at) / bucketsPerLife))));
    let issued = this.#given.get(holder);
    if (issued === undefined) this.#given.set(holder, (issued = new Map()));
    // the roots of its first certificate are those of each later one
    const [first] = keepsItsRoots(holder) ? issued.keys() : [];
    const bucket = first ?? (renewsItsRoots(holder) ? at : Math.floor(at / width) * width);
    if (!issued.has(bucket))
      for (const [start, last] of issued) if (last < this.keptFrom) issued.delete(start);
    raise(issued, bucket, notAfter);
    if (renewsItsRoots(holder)) keepLatest(issued);
  }

  /** The content without expired leaves. */
  copy(): IssuedContent {
    const until = this.keptFrom;
    const unheld: [string, number, number][] = [];
    for (const [holder, starts] of this.#given)
      for (const [start, last] of starts) if (last >= until) unheld.push([holder, start, last]);
    return {
      holders: [...this.#byHolder].filter(([, last]) => last >= until),
      authorities: [...this.#byAuthority].filter(([, last]) => last >= until),
      given: unheld,
      downstream: [...this.#downstream].flatMap(([serial, { authorityId, notAfter }]) =>
        notAfter >= until ? [[serial, authorityId, notAfter] as const] : [],
      ),
      watchers: [...this.#watchers].filter(([, last]) => last >= until),
    };
  }

  /** Begins with the content of a snapshot. The leaves one by one are unknown until `complete`. */
  restore(content: IssuedContent): void {
    this.#add(content);
    this.unreplaced.begin();
  }

  /** Adds what the records under the snapshot say, after all of them were read. */
  complete(read: IssuedLeaves): void {
    this.#add(read.copy());
    this.unreplaced.complete(read.unreplaced);
  }

  #add({ holders, authorities, given, downstream, watchers }: IssuedContent): void {
    for (const [watcher, last] of watchers)
      if (last > (this.#left.get(watcher) ?? 0)) raise(this.#watchers, watcher, last);
    for (const [holder, last] of holders) raise(this.#byHolder, holder, last);
    for (const [id, last] of authorities) raise(this.#byAuthority, id, last);
    for (const [holder, start, last] of given) {
      let starts = this.#given.get(holder);
      if (starts === undefined) this.#given.set(holder, (starts = new Map()));
      raise(starts, start, last);
      if (renewsItsRoots(holder)) keepLatest(starts);
    }
    for (const [serial, authorityId, notAfter] of downstream)
      this.#downstream.set(serial, { authorityId, notAfter });
  }

  /**
   * Takes over the content of another memory and drops its own. The other one must not be used any
   * more.
   */
  become(other: IssuedLeaves): void {
    this.#byHolder = other.#byHolder;
    this.#byAuthority = other.#byAuthority;
    this.#given = other.#given;
    this.#downstream = other.#downstream;
    this.#watchers = other.#watchers;
    this.#left = other.#left;
    this.unreplaced.become(other.unreplaced);
  }

  /** The latest notAfter by holder, without holders whose leaves have expired at `now`. */
  holders(now: number): ReadonlyMap<string, number> {
    for (const [holder, last] of this.#byHolder)
      if (last < this.keptFrom) this.#byHolder.delete(holder);
    return new Map([...this.#byHolder].filter(([, last]) => last >= now));
  }

  /** The latest end of the certificates with which each process watched the bundle. */
  watchers(): ReadonlyMap<string, number> {
    for (const processes of [this.#watchers, this.#left])
      for (const [watcher, last] of processes) if (last < this.keptFrom) processes.delete(watcher);
    return this.#watchers;
  }

  lastOf(authorityId: string): number {
    let last = this.#byAuthority.get(authorityId) ?? 0;
    for (const notAfter of this.#caEnds(authorityId)) last = Math.max(last, notAfter);
    return last;
  }

  /** The notAfter of each downstream CA that this authority signed and nobody revoked. */
  *#caEnds(authorityId: string): Iterable<number> {
    for (const [serial, ca] of this.#downstream)
      if (ca.authorityId === authorityId && !this.#isRevoked(serial)) yield ca.notAfter;
  }

  authorities(): ReadonlySet<string> {
    return new Set([
      ...this.#byAuthority.keys(),
      ...[...this.#downstream.values()].map(({ authorityId }) => authorityId),
    ]);
  }

  /**
   * Whether something that this authority signed, and that ends at `since` or later, may be in use.
   * Only what holders told this process counts as replaced.
   */
  isLive(authorityId: string, since: number): boolean {
    if (!this.unreplaced.whole && this.lastOf(authorityId) >= since) return true;
    for (const notAfter of this.#caEnds(authorityId)) if (notAfter >= since) return true;
    return this.unreplaced.isLive(authorityId, since);
  }

  /**
   * How many certificates that this authority signed, and that end at `since` or later, are with
   * holders that can not report a replacement. As long as records are unread, at least one may be.
   */
  liveUnreported(authorityId: string, since: number): number {
    let live = this.unreplaced.countOf(authorityId, since, (holder) => !this.#isAgent(holder));
    for (const notAfter of this.#caEnds(authorityId)) if (notAfter >= since) live += 1;
    if (live > 0 || this.unreplaced.whole) return live;
    return this.lastOf(authorityId) >= since && this.unheldUntil(Infinity) >= since ? 1 : 0;
  }

  /**
   * The latest notAfter of the leaves that were issued until `since` to holders that are no agents;
   * or 0. Of a holder that keeps its roots, each later leaf counts as well; of one that renews them,
   * none counts once there is a later one. `named`: holders that
   * name everybody who has their certificates.
   */
  unheldUntil(since: number, named: readonly string[] = []): number {
    let until = 0;
    for (const [holder, issued] of this.#given) {
      const latest = Math.max(...issued.values());
      if (latest < this.keptFrom) this.#given.delete(holder);
      else if (this.#isAgent(holder) || named.includes(holder)) continue;
      else if (!keepsItsRoots(holder))
        for (const [start, last] of issued)
          until = start <= since + 1 ? Math.max(until, last) : until;
      else if (Math.min(...issued.keys()) <= since + 1) until = Math.max(until, latest);
    }
    return until;
  }
}

/** Names one process of a control plane. Neither a SPIFFE ID nor its name has a blank. */
export const watcherKey = (holder: string, instance: string): string => `${holder} ${instance}`;

/** A holder that renews its roots has those of its latest leaf, whatever else it still has. */
function keepLatest(issued: Map<number, number>): void {
  const latest = Math.max(...issued.keys());
  const last = Math.max(...issued.values());
  issued.clear();
  issued.set(latest, last);
}

function raise<K>(map: Map<K, number>, key: K, value: number): void {
  const before = map.get(key);
  if (before === undefined || before < value) map.set(key, value);
}

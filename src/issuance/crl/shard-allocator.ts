import type { Clock } from '../../common/runtime/index.ts';
import { leavesPerShard, type AssignedShard, type CrlShard } from '../../domain/index.ts';

export interface ShardAllocatorDependencies {
  /** By the log, in the order in which they were opened. */
  readonly shards: (authorityId: string) => readonly CrlShard[];
  /** The URL that leaves of a shard name; undefined: no CRL is published. */
  readonly url: (authorityId: string, shard: number) => string | undefined;
  /** When the newest loss of records was accepted, Unix milliseconds; 0: never. */
  readonly restoredMs: () => number;
  readonly clock: Pick<Clock, 'now'>;
  /** Default: `leavesPerShard`. */
  readonly mostLeaves?: number;
}

export interface OpenShard {
  readonly shard: number;
  readonly url: string;
}

interface Filling extends OpenShard {
  /** Places that are taken: by the log at the start, then by this process. */
  taken: number;
  /** Whether a record states the URL. */
  isRecorded: boolean;
}

interface AuthorityShards {
  readonly restoredMs: number;
  current: Filling;
  /** Opened before it is needed, so that its CRL is published when the first leaf names it. */
  next: Filling | undefined;
}

/**
 * Puts each revocable leaf into a shard of the CRLs of its issuer, one shard after another, so that
 * the leaves of a shard also end at about the same time. A shard is never reopened: after a restore
 * the lost records may have filled those of before. Owner of the places that are taken.
 */
export class ShardAllocator {
  readonly #dependencies: ShardAllocatorDependencies;
  readonly #mostLeaves: number;
  readonly #byAuthority = new Map<string, AuthorityShards>();
  readonly #listeners = new Set<() => void>();

  constructor(dependencies: ShardAllocatorDependencies) {
    this.#dependencies = dependencies;
    this.#mostLeaves = dependencies.mostLeaves ?? leavesPerShard;
  }

  /** Takes a place. undefined: no CRL is published, so that nothing revocable can be issued. */
  assign(authorityId: string): AssignedShard | undefined {
    const shards = this.#of(authorityId);
    if (shards === undefined) return undefined;
    if (shards.current.taken >= this.#mostLeaves) {
      shards.current = shards.next ?? this.#open(authorityId, shards);
      shards.next = undefined;
    }
    const { current } = shards;
    current.taken += 1;
    if (shards.next === undefined && current.taken * 2 >= this.#mostLeaves)
      shards.next = this.#open(authorityId, shards);
    const isNew = !this.#isRecorded(authorityId, current);
    return { shard: current.shard, url: current.url, isNew };
  }

  /** Gives back the place of a leaf that was surely never signed. */
  giveBack(authorityId: string, shard: number): void {
    const current = this.#byAuthority.get(authorityId)?.current;
    if (current?.shard === shard) current.taken -= 1;
  }

  /** The shards that leaves are or will be put into. Opens the first one where there is none. */
  prepare(authorityId: string): readonly OpenShard[] {
    this.#of(authorityId);
    return this.open(authorityId);
  }

  /** The same without opening one. */
  open(authorityId: string): readonly OpenShard[] {
    const { current, next } = this.#byAuthority.get(authorityId) ?? {};
    return [current, next].filter((each) => each !== undefined);
  }

  /** Called when a shard was opened. Returns the unsubscribe function. */
  onOpened(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #of(authorityId: string): AuthorityShards | undefined {
    const restoredMs = this.#dependencies.restoredMs();
    const known = this.#byAuthority.get(authorityId);
    if (known !== undefined && known.restoredMs === restoredMs) return known;
    const logged = this.#dependencies.shards(authorityId);
    if (this.#dependencies.url(authorityId, 1) === undefined) return undefined;
    const usable = logged.filter(
      ({ shard, url }) =>
        url === this.#dependencies.url(authorityId, shard) && shard * 1000 > restoredMs,
    );
    const lastUsed = logged.findLast(({ leaves }) => leaves > 0)?.shard ?? 0;
    const [first, second] = usable
      .filter(({ shard, leaves }) => shard >= lastUsed && leaves < this.#mostLeaves)
      .map(({ shard, url, leaves }): Filling => ({ shard, url, taken: leaves, isRecorded: true }));
    const current = first ?? this.#open(authorityId, known);
    const shards: AuthorityShards = { restoredMs, current, next: second };
    this.#byAuthority.set(authorityId, shards);
    if (first === undefined) this.#tell();
    return shards;
  }

  #open(authorityId: string, before: AuthorityShards | undefined): Filling {
    const { clock, shards, url } = this.#dependencies;
    const highest = Math.max(
      shards(authorityId).at(-1)?.shard ?? 0,
      before?.current.shard ?? 0,
      before?.next?.shard ?? 0,
    );
    const shard = Math.max(highest + 1, clock.now());
    if (before !== undefined) this.#tell();
    return { shard, url: url(authorityId, shard) as string, taken: 0, isRecorded: false };
  }

  #isRecorded(authorityId: string, filling: Filling): boolean {
    filling.isRecorded ||= this.#dependencies
      .shards(authorityId)
      .some(({ shard, url }) => shard === filling.shard && url !== '');
    return filling.isRecorded;
  }

  /** After the turn, since the shard is open only then. */
  #tell(): void {
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener();
    });
  }
}

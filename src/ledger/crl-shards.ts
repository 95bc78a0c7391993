import {
  readCanonical,
  type AuditEvent,
  type CrlShard,
  type LoggedObject,
} from '../domain/index.ts';

/** A leaf that names a shard, in the record of what became of it. */
export interface ShardLeaf {
  readonly authorityId: string;
  readonly shard: number;
  readonly notAfter: number;
  /** The URL of the shard; '' if the record does not state it. */
  readonly url: string;
}

export interface ShardContent extends CrlShard {
  readonly authorityId: string;
}

/** A withheld or abandoned leaf may have been signed, so that it takes its place as well. */
const kinds = ['certificate.issued', 'certificate.withheld', 'certificate.abandoned'];
/** Inside a JSON string the quotes would be escaped, so that these bytes mark a field only. */
const mark = Buffer.from('"shard":');

export function shardLeafIn({ kind, detail }: AuditEvent): ShardLeaf | undefined {
  const { shard, notAfter, crlUrl } = detail;
  const authorityId = detail['authority'] ?? detail['authorityId'];
  if (
    !kinds.includes(kind) ||
    typeof shard !== 'number' ||
    typeof notAfter !== 'number' ||
    typeof authorityId !== 'string'
  )
    return undefined;
  return { authorityId, shard, notAfter, url: typeof crlUrl === 'string' ? crlUrl : '' };
}

/** The same from the bytes of a record that commits to no object. */
export function shardLeafFrom(canonical: Buffer): ShardLeaf | undefined {
  const event = canonical.includes(mark) ? readCanonical(canonical) : undefined;
  return event === undefined ? undefined : shardLeafIn(event);
}

/**
 * The shards of CRLs by the records of the log: how many leaves name each, and until when. The
 * place of a leaf is taken also where nobody has it. Owner of that memory.
 */
export class CrlShards {
  #shards = new Map<string, Map<number, CrlShard>>();

  applyLeaf({ authorityId, shard, notAfter, url }: ShardLeaf): void {
    const before = this.#at(authorityId, shard);
    this.#put(authorityId, {
      shard,
      url: before.url === '' ? url : before.url,
      leaves: before.leaves + 1,
      lastNotAfter: Math.max(before.lastNotAfter, notAfter),
    });
  }

  /** The record of a CRL states the URL of its shard. That of a removed one ends the shard. */
  applyCrl({ kind, sha256, detail, subject }: LoggedObject): void {
    const { shard, url } = detail;
    if (kind !== 'crl' || typeof shard !== 'number' || shard === 0) return;
    if (sha256 === '') this.#shards.get(subject)?.delete(shard);
    else if (typeof url === 'string') this.#put(subject, { ...this.#at(subject, shard), url });
  }

  /** In the order in which they were opened. */
  of(authorityId: string): readonly CrlShard[] {
    return [...(this.#shards.get(authorityId)?.values() ?? [])].sort(
      (one, other) => one.shard - other.shard,
    );
  }

  get(authorityId: string, shard: number): CrlShard | undefined {
    return this.#shards.get(authorityId)?.get(shard);
  }

  copy(): readonly ShardContent[] {
    return [...this.#shards].flatMap(([authorityId, shards]) =>
      [...shards.values()].map((shard) => ({ authorityId, ...shard })),
    );
  }

  /** Begins with the content of a snapshot. */
  restore(content: readonly ShardContent[]): void {
    for (const { authorityId, ...shard } of content) this.#put(authorityId, shard);
  }

  become(other: CrlShards): void {
    this.#shards = other.#shards;
  }

  #at(authorityId: string, shard: number): CrlShard {
    return this.get(authorityId, shard) ?? { shard, url: '', leaves: 0, lastNotAfter: 0 };
  }

  #put(authorityId: string, shard: CrlShard): void {
    let shards = this.#shards.get(authorityId);
    if (shards === undefined) this.#shards.set(authorityId, (shards = new Map()));
    shards.set(shard.shard, shard);
  }
}

import { createHash } from 'node:crypto';
import type { AcceptedBundle, BlockedKey, ClockState, Revocation } from '../domain/index.ts';
import type { ShardContent } from './crl-shards.ts';
import type { LivingObject } from './living.ts';
import type { IssuedContent } from './issued-leaves.ts';
import type { ObjectsContent } from './objects-content.ts';
import type { PlaceContent } from './quota-places.ts';
import type { AcceptedRestore } from './restores.ts';
import type { CopiedRevocation } from './revoked-table.ts';

/** Small enough that a part takes one or two milliseconds to make or read. */
const itemsPerPart = 1_000;

type ObjectItem =
  | readonly ['object' | 'evidence', key: string, sha256: string, sequence: number]
  | readonly ['admin', entryId: string, spiffeId: string]
  | readonly ['living', LivingObject]
  | readonly ['clock', ClockState]
  | readonly ['restore', AcceptedRestore]
  | RevocationItem
  | readonly ['blocked', BlockedKey]
  | readonly ['foreign-bundle', AcceptedBundle]
  | CrlItem;
type CrlItem = readonly ['crl', id: string, number: number, issuerNumber: string, covers: number];
/** Most items of a long log are of this kind: a list is shorter than a record. */
type RevocationItem = readonly [
  'revocation',
  serial: string,
  authorityId: string,
  shard: number,
  reason: Revocation['reason'],
  revokedAt: number,
  revokedBy: string,
  notAfter: number,
  isRaised?: 1,
];
type LeafItem =
  | readonly ['holder' | 'authority' | 'watcher', id: string, last: number]
  | readonly ['given', holder: string, start: number, last: number]
  | readonly ['downstream', serial: string, authorityId: string, last: number];
type ShardItem = readonly [
  'shard',
  authorityId: string,
  shard: number,
  url: string,
  leaves: number,
  lastNotAfter: number,
];
type PlaceItem = readonly ['place', counter: string, sequence: number, until: number];

/**
 * What the log says of objects, as JSON with a thousand items per part. The same content gives the
 * same bytes.
 */
export function* objectParts({
  objects,
  evidence,
  admins,
  living,
  clock,
  restores,
  revocations,
  blocked,
  accepted,
  crls,
}: ObjectsContent): Generator<Buffer> {
  yield* parts(
    'objects',
    (function* items(): Generator<ObjectItem> {
      for (const [key, { sha256, sequence }] of objects) yield ['object', key, sha256, sequence];
      for (const [id, { sha256, sequence }] of evidence) yield ['evidence', id, sha256, sequence];
      for (const [entryId, spiffeId] of admins) yield ['admin', entryId, spiffeId];
      for (const { object, id, kind } of living) yield ['living', { object, id, kind }];
      if (clock !== undefined) yield ['clock', clock];
      for (const { acceptedMs, lostFromMs } of restores)
        yield ['restore', { acceptedMs, lostFromMs }];
      for (const revocation of revocations) yield revocationItem(revocation);
      for (const { publicKeySha256, reason, blockedAt, blockedBy } of blocked)
        yield ['blocked', { publicKeySha256, reason, blockedAt, blockedBy }];
      for (const bundle of accepted) yield ['foreign-bundle', acceptedCopy(bundle)];
      for (const { id, number, issuerNumber, covers } of crls)
        yield ['crl', id, number, issuerNumber, covers];
    })(),
  );
}

/**
 * What the log says of leaves that may still be valid. Expired leaves are dropped with time, so
 * that two snapshots of the same log may differ here.
 */
export function* leafParts({
  holders,
  authorities,
  given,
  downstream,
  watchers,
}: IssuedContent): Generator<Buffer> {
  yield* parts(
    'leaves',
    (function* items(): Generator<LeafItem> {
      for (const [id, last] of holders) yield ['holder', id, last];
      for (const [id, last] of authorities) yield ['authority', id, last];
      for (const [holder, start, last] of given) yield ['given', holder, start, last];
      for (const [serial, id, last] of downstream) yield ['downstream', serial, id, last];
      for (const [id, last] of watchers) yield ['watcher', id, last];
    })(),
  );
}

/** What the log says of quotas. A log without any gives no part. */
export function* placeParts(places: readonly PlaceContent[]): Generator<Buffer> {
  yield* parts(
    'leaves',
    places.map(({ counter, sequence, until }): PlaceItem => ['place', counter, sequence, until]),
  );
}

/** What the log says of the shards of CRLs. */
export function* shardParts(shards: readonly ShardContent[]): Generator<Buffer> {
  yield* parts(
    'leaves',
    shards.map(
      ({ authorityId, shard, url, leaves, lastNotAfter }): ShardItem => [
        'shard',
        authorityId,
        shard,
        url,
        leaves,
        lastNotAfter,
      ],
    ),
  );
}

/** In one order of keys. JSON leaves out that nothing shrank, or was left out. */
const acceptedCopy = (bundle: AcceptedBundle): AcceptedBundle => ({
  trustDomain: bundle.trustDomain,
  relationshipId: bundle.relationshipId,
  sequence: bundle.sequence,
  receivedAt: bundle.receivedAt,
  roots: bundle.roots,
  jwtKeys: bundle.jwtKeys,
  ...(bundle.leftOut === undefined ? {} : { leftOut: bundle.leftOut }),
  shrunk:
    bundle.shrunk === undefined
      ? undefined
      : {
          at: bundle.shrunk.at,
          sequence: bundle.shrunk.sequence,
          lostRoots: bundle.shrunk.lostRoots,
          lostJwtKeys: bundle.shrunk.lostJwtKeys,
        },
});

const revocationItem = (revoked: CopiedRevocation): RevocationItem => {
  const { serial, authorityId, shard, reason, revokedAt, revokedBy, notAfter } = revoked;
  const item = [serial, authorityId, shard, reason, revokedAt, revokedBy, notAfter] as const;
  return revoked.isRaised === true ? ['revocation', ...item, 1] : ['revocation', ...item];
};

const revocationOf = ([
  ,
  serial,
  authorityId,
  shard,
  reason,
  revokedAt,
  revokedBy,
  notAfter,
  raised,
]: RevocationItem): CopiedRevocation => ({
  serial,
  authorityId,
  reason,
  revokedAt,
  revokedBy,
  notAfter,
  shard,
  ...(raised === undefined ? {} : { isRaised: true }),
});

const crlOf = ([, id, number, issuerNumber, covers]: CrlItem) => ({
  id,
  number,
  issuerNumber,
  covers,
});

const shardOf = ([, authorityId, shard, url, leaves, lastNotAfter]: ShardItem): ShardContent => ({
  authorityId,
  shard,
  url,
  leaves,
  lastNotAfter,
});

type Item = ObjectItem | LeafItem | PlaceItem | ShardItem;

function* parts(of: 'objects' | 'leaves', items: Iterable<Item>): Generator<Buffer> {
  let part: Item[] = [];
  for (const item of items) {
    part.push(item);
    if (part.length < itemsPerPart) continue;
    yield Buffer.from(JSON.stringify([of, ...part]));
    part = [];
  }
  if (part.length > 0) yield Buffer.from(JSON.stringify([of, ...part]));
}

export interface PartsContent {
  readonly objects: ObjectsContent;
  readonly issued: IssuedContent;
  readonly places: readonly PlaceContent[];
  readonly shards: readonly ShardContent[];
  /** SHA-256 of the parts about objects. */
  readonly objectParts: readonly Buffer[];
}

/**
 * Reads parts. What comes of them counts only if the digest of all parts is the signed one.
 *
 * @throws TypeError if this module could not have made them
 */
export function contentOf(all: Iterable<Buffer>): PartsContent {
  const content = {
    objects: [] as [string, { sha256: string; sequence: number }][],
    evidence: [] as [string, { sha256: string; sequence: number }][],
    admins: [] as [string, string][],
    living: [] as LivingObject[],
    clock: undefined as ClockState | undefined,
    restores: [] as AcceptedRestore[],
    revocations: [] as CopiedRevocation[],
    blocked: [] as BlockedKey[],
    accepted: [] as AcceptedBundle[],
    crls: [] as { id: string; number: number; issuerNumber: string; covers: number }[],
  };
  const issued = {
    holders: [] as [string, number][],
    authorities: [] as [string, number][],
    given: [] as [string, number, number][],
    downstream: [] as [string, string, number][],
    watchers: [] as [string, number][],
  };
  const places: PlaceContent[] = [];
  const shards: ShardContent[] = [];
  const hashes: Buffer[] = [];
  for (const part of all) {
    const [of, ...items] = JSON.parse(part.toString('utf8')) as readonly [
      'objects' | 'leaves',
      ...Item[],
    ];
    if (of === 'objects') hashes.push(partHash(part));
    for (const item of items) {
      if (item[0] === 'object')
        content.objects.push([item[1], { sha256: item[2], sequence: item[3] }]);
      else if (item[0] === 'evidence')
        content.evidence.push([item[1], { sha256: item[2], sequence: item[3] }]);
      else if (item[0] === 'admin') content.admins.push([item[1], item[2]]);
      else if (item[0] === 'living') content.living.push(item[1]);
      else if (item[0] === 'clock') content.clock = item[1];
      else if (item[0] === 'restore') content.restores.push(item[1]);
      else if (item[0] === 'revocation') content.revocations.push(revocationOf(item));
      else if (item[0] === 'blocked') content.blocked.push(item[1]);
      else if (item[0] === 'foreign-bundle') content.accepted.push(acceptedCopy(item[1]));
      else if (item[0] === 'crl') content.crls.push(crlOf(item));
      else if (item[0] === 'holder') issued.holders.push([item[1], item[2]]);
      else if (item[0] === 'place')
        places.push({ counter: item[1], sequence: item[2], until: item[3] });
      else if (item[0] === 'shard') shards.push(shardOf(item));
      else if (item[0] === 'watcher') issued.watchers.push([item[1], item[2]]);
      else if (item[0] === 'authority') issued.authorities.push([item[1], item[2]]);
      else if (item[0] === 'given') issued.given.push([item[1], item[2], item[3]]);
      else if (item[0] === 'downstream') issued.downstream.push([item[1], item[2], item[3]]);
      else throw new TypeError('an item of a snapshot is of an unknown kind');
    }
  }
  return { objects: content, issued, places, shards, objectParts: hashes };
}

export const partHash = (part: Buffer): Buffer => createHash('sha256').update(part).digest();

/** SHA-256 over the SHA-256 values of the parts. */
export class PartsDigest {
  readonly #hash = createHash('sha256');

  add(part: Buffer): void {
    this.#hash.update(partHash(part));
  }

  digest(): Buffer {
    return this.#hash.digest();
  }
}

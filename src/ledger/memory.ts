import type { Clock } from '../common/runtime/index.ts';
import {
  committedObject,
  loggedIn,
  takenPlacesIn,
  type AuditStatement,
  type LoggedObject,
  type TakenPlace,
} from '../domain/index.ts';
import { CrlShards, shardLeafFrom, shardLeafIn, type ShardLeaf } from './crl-shards.ts';
import { IssuedLeaves } from './issued-leaves.ts';
import { issuedFrom, issuedIn, type Issued } from './issued-record.ts';
import { Objects } from './objects.ts';
import { QuotaPlaces, takenPlacesFrom } from './quota-places.ts';
import { restoredFrom, restoredIn, type AcceptedRestore } from './restores.ts';

/** What this process keeps of the records. */
export interface Memory {
  readonly objects: Objects;
  readonly issued: IssuedLeaves;
  readonly quotas: QuotaPlaces;
  readonly shards: CrlShards;
}

/** The content of one record for the memory. */
export interface Lesson {
  readonly object: LoggedObject | undefined;
  readonly issued: Issued | undefined;
  readonly restored: AcceptedRestore | undefined;
  readonly places: readonly TakenPlace[];
  readonly shardLeaf: ShardLeaf | undefined;
}

export function emptyMemory(clock: Clock, objects = new Objects()): Memory {
  const issued = new IssuedLeaves(believed(clock, objects), {
    isAgent: (holder) => objects.expects('agent', holder),
    isRevoked: (serial) => objects.revoked.has(serial),
  });
  return {
    objects,
    issued,
    quotas: new QuotaPlaces(() => issued.keptFrom),
    shards: new CrlShards(),
  };
}

/**
 * The time by which leaves are forgotten: no later than the log last believed the clock, since a
 * jump of the clock may not be on record yet. A log that never says so has no leaf forgotten.
 */
const believed = (clock: Clock, objects: Objects): Pick<Clock, 'now'> => ({
  now: () => {
    const said = objects.clock();
    if (said === undefined) return Number.NEGATIVE_INFINITY;
    return Math.min(clock.now(), Math.floor(said.wallMs / 1000));
  },
});

export function apply(
  { objects, issued, quotas, shards }: Memory,
  lesson: Lesson,
  sequence: number,
): void {
  if (lesson.object !== undefined) {
    objects.apply(lesson.object, sequence);
    shards.applyCrl(lesson.object);
  }
  if (lesson.issued !== undefined) issued.apply(lesson.issued);
  if (lesson.restored !== undefined) objects.applyRestore(lesson.restored);
  if (lesson.shardLeaf !== undefined) shards.applyLeaf(lesson.shardLeaf);
  for (const place of lesson.places) quotas.apply(place, sequence);
}

/** The lesson of a record that this process wrote. */
export const lessonOf = (statement: AuditStatement): Lesson => ({
  object: statement.object === undefined ? undefined : loggedIn(statement.object, statement),
  issued: issuedIn(statement),
  restored: restoredIn(statement),
  places: takenPlacesIn(statement),
  shardLeaf: shardLeafIn(statement),
});

/** The lesson of a stored record. Leaves that ended before `keptFrom` (Unix seconds) are left out. */
export function lessonFrom(canonical: Buffer, keptFrom: number): Lesson {
  const object = committedObject(canonical);
  return {
    object,
    issued: object === undefined ? issuedFrom(canonical, keptFrom) : undefined,
    restored: object === undefined ? restoredFrom(canonical) : undefined,
    places: takenPlacesFrom(canonical, keptFrom),
    shardLeaf: object === undefined ? shardLeafFrom(canonical) : undefined,
  };
}

import type { Clock } from '../../common/runtime/index.ts';
import { committedObject, type LoggedObject } from '../../domain/index.ts';
import { issuedFrom, IssuedLeaves, type IssuedLeaf } from './issued.ts';
import { Ledger } from './ledger.ts';

/** What this process keeps of what the records say. */
export interface LogMemory {
  readonly ledger: Ledger;
  readonly issued: IssuedLeaves;
}

/** What one record says to it. */
export interface Lesson {
  readonly object: LoggedObject | undefined;
  readonly issued: IssuedLeaf | undefined;
}

export function emptyMemory(clock: Clock): LogMemory {
  const ledger = new Ledger();
  return { ledger, issued: new IssuedLeaves(clock, (holder) => ledger.expects('agent', holder)) };
}

export function apply({ ledger, issued }: LogMemory, lesson: Lesson, sequence: number): void {
  if (lesson.object !== undefined) ledger.apply(lesson.object, sequence);
  if (lesson.issued !== undefined) issued.apply(lesson.issued);
}

/** From a record as it stands; what is over at `now` is not told. */
export function learn(memory: LogMemory, canonical: Buffer, sequence: number, now: number): void {
  const object = committedObject(canonical);
  apply(
    memory,
    { object, issued: object === undefined ? issuedFrom(canonical, now) : undefined },
    sequence,
  );
}

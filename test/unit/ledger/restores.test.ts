import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes } from '../../../src/domain/index.ts';
import { apply, emptyMemory, lessonFrom, lessonOf } from '../../../src/ledger/memory.ts';
import { contentOf, objectParts } from '../../../src/ledger/snapshot-parts.ts';
import { FakeClock } from '../../support/agent.ts';

const event = (
  timeMs: number,
  detail: Record<string, string | number>,
  kind = 'database.restored',
) => ({
  ...{ timeMs, actor: 'uid:0', kind, subject: 'database', detail },
});

test('accepted restores are known from the records, the latest one first, and from a snapshot', () => {
  const memory = emptyMemory(new FakeClock());
  const { objects } = memory;
  const records = [
    event(5_000, { lostFromMs: 1_000 }),
    event(9_000, {}),
    event(7_000, { lostFromMs: 2_000 }),
  ];
  for (const [at, record] of records.entries())
    apply(memory, lessonFrom(canonicalBytes(record), 0), at + 1);
  const expected = [
    { acceptedMs: 9_000, lostFromMs: 9_000 },
    { acceptedMs: 7_000, lostFromMs: 2_000 },
    { acceptedMs: 5_000, lostFromMs: 1_000 },
  ];
  assert.deepEqual(objects.restores(), expected);
  const again = emptyMemory(new FakeClock());
  again.objects.restore(contentOf(objectParts(objects.copy())).objects);
  assert.deepEqual(again.objects.restores(), expected);
  const own = emptyMemory(new FakeClock());
  for (const [at, record] of records.entries()) apply(own, lessonOf(record), at + 1);
  assert.deepEqual(own.objects.restores(), expected);
});

test('no other record is one, whatever its texts say', () => {
  const memory = emptyMemory(new FakeClock());
  const { objects } = memory;
  const texts = event(5_000, { reason: '"kind":"database.restored"' }, 'agent.banned');
  apply(memory, lessonFrom(canonicalBytes(texts), 0), 1);
  assert.deepEqual(objects.restores(), []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, loggedObject, type BlockedKey } from '../../../src/domain/index.ts';
import { apply, emptyMemory, lessonFrom } from '../../../src/ledger/memory.ts';
import { contentOf, objectParts } from '../../../src/ledger/snapshot-parts.ts';
import { FakeClock } from '../../support/agent.ts';

const key = (publicKeySha256: string, blockedAt = 5): BlockedKey => ({
  publicKeySha256,
  reason: 'stolen',
  blockedAt,
  blockedBy: 'uid:0',
});
const record = (blocked: BlockedKey): Buffer => {
  const { reason, blockedAt, blockedBy, publicKeySha256 } = blocked;
  return canonicalBytes(
    {
      timeMs: 1_000,
      actor: 'a',
      kind: 'key.blocked',
      subject: publicKeySha256,
      detail: { reason, blockedAt, blockedBy, publicKeySha256 },
    },
    loggedObject('blocked-key', blocked),
  );
};

test('a block is known from its record alone, and the first one of a key stays', () => {
  const { objects, ...memory } = emptyMemory(new FakeClock());
  const records = [key('aa'), key('bb'), key('aa', 9)].map(record);
  for (const [at, canonical] of records.entries())
    apply({ objects, ...memory }, lessonFrom(canonical, 0), at + 1);
  assert.deepEqual(objects.blocked.get('aa'), key('aa'));
  assert.equal(objects.blocked.get('cc'), undefined);
});

test('blocked keys come back from a snapshot, and those behind it are added', () => {
  const memory = emptyMemory(new FakeClock());
  for (const [at, sha256] of ['bb', 'aa'].entries())
    apply(memory, lessonFrom(record(key(sha256)), 0), at + 1);
  const { objects } = contentOf(objectParts(memory.objects.copy()));
  const again = emptyMemory(new FakeClock());
  again.objects.restore(objects);
  apply(again, lessonFrom(record(key('cc')), 0), 3);
  assert.deepEqual(
    again.objects.blocked.copy(),
    ['aa', 'bb', 'cc'].map((each) => key(each)),
  );
  assert.deepEqual(
    [...objectParts(emptyMemory(new FakeClock()).objects.copy())],
    [],
    'a log without any gives no part',
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deletedObject, loggedObject } from '../../../src/domain/index.ts';
import { Deletions } from '../../../src/ledger/deletions.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import { RememberedTexts } from '../../../src/ledger/remembered-texts.ts';
import { joinToken } from '../../compliance/store/fixtures.ts';

const record = { act: 'noun.verb', subject: '', detail: {} };

test('the newest deletions are remembered, and the oldest is forgotten for each one more', () => {
  const deletions = new Deletions(3);
  const forgotten = Array.from({ length: 12 }, (_, at) => deletions.add(`key ${at}`));
  assert.deepEqual(
    forgotten,
    Array.from({ length: 12 }, (_, at) => (at < 3 ? undefined : `key ${at - 3}`)),
  );
});

test('a deleted object leaves the memory after many later deletions, and does not come back', () => {
  const objects = new Objects();
  const [first, again] = [joinToken(), joinToken()];
  let sequence = 0;
  const say = (object: ReturnType<typeof loggedObject>) =>
    objects.apply({ ...object, ...record }, (sequence += 1));
  for (const { id } of [first, again]) say(deletedObject('join-token', id));
  say(loggedObject('join-token', again));
  const found: string[] = [];
  objects.onMismatch((mismatch) => found.push(mismatch.found));
  assert.equal(objects.prove('join-token', first), undefined);
  for (let at = 0; at < 10_000; at += 1) say(deletedObject('join-token', `other ${at}`));
  assert.equal(objects.prove('join-token', first), undefined);
  assert.deepEqual(found, ['deleted', 'absent']);
  assert.ok(objects.prove('join-token', again), 'it was made again after its deletion');
  assert.equal(objects.expectedCount('join-token'), 1);
});

test('remembered texts stay below their limit, and a long one is not held', () => {
  const texts = new RememberedTexts(10_000);
  const holders = Array.from({ length: 3_000 }, () => ({ text: undefined as string | undefined }));
  for (const holder of holders) texts.keep(holder, 'x'.repeat(10));
  const held = holders.filter(({ text }) => text !== undefined).length;
  assert.ok(held >= 500 && held <= 1_000, `${held}`);
  assert.equal(holders.at(-1)?.text, 'x'.repeat(10));
  const long = { text: undefined };
  texts.keep(long, 'x'.repeat(11));
  assert.equal(long.text, undefined);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunsUnderWay } from '../../../src/issuance/runs-under-way.ts';
import { nextTurn } from '../../support/until.ts';

test('what is under way ends with its runs, also with one that fails, and not with later ones', async () => {
  const runs = new RunsUnderWay();
  const of = (...serials: readonly string[]) => serials.map((serial) => ({ intent: { serial } }));
  const [first, second, later] = [1, 2, 3].map(() => Promise.withResolvers<void>());
  assert.ok(first && second && later);
  void runs.add(of('01', '02'), first.promise);
  const failing = assert.rejects(runs.add(of('03'), second.promise), /disk full/);
  const { serials, ended } = runs.present();
  void runs.add(of('04'), later.promise);
  assert.deepEqual([...serials], ['01', '02', '03']);
  let isOver = false;
  void ended.then(() => (isOver = true));
  first.resolve();
  await nextTurn();
  assert.equal(isOver, false);
  second.reject(new Error('disk full'));
  await failing;
  await ended;
  assert.deepEqual([...runs.present().serials], ['04']);
  later.resolve();
  await nextTurn();
  assert.equal(runs.present().serials.size, 0);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endings, instants, sweepStarts } from '../../../support/start-sweep.ts';

test('around the end of an authority a start makes only what it may, whatever clock and tokens', () => {
  const { decisions, broken } = sweepStarts();
  assert.deepEqual(broken.slice(0, 5), []);
  assert.equal(decisions, endings.length * instants.length * 4 * 2 ** 4 * 4);
});

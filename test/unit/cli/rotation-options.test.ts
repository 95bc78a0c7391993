import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { canaryOf, placeOf, sharesOf } from '../../../src/cli/rotation-options.ts';
import { PkiError } from '../../../src/common/errors/index.ts';

const invalid = (thrown: unknown): boolean => PkiError.from(thrown).code === 'INVALID_REQUEST';
const watched = { hold: '10m', maxFailures: '0.01' };

describe('the steps of a canary', () => {
  test('are nodes by selector first, then shares as parts or percentages', () => {
    assert.deepEqual(canaryOf({ ...watched, canary: '10%,0.5', canarySelector: ['node:a:b'] }), {
      canary: {
        steps: [
          { share: 0, selectors: ['node:a:b'] },
          { share: 0.1, selectors: [] },
          { share: 0.5, selectors: [] },
        ],
        holdSeconds: 600,
        maximumFailureRate: 0.01,
      },
    });
  });

  test('are absent without any', () => assert.deepEqual(canaryOf(watched), {}));

  test('are refused where a share is none', () => {
    for (const canary of ['0', '101%', 'half', '-1'])
      assert.throws(() => canaryOf({ ...watched, canary }), invalid, canary);
  });
});

test('a region or replica is for issuing authorities alone', () => {
  assert.deepEqual(placeOf({ region: 'eu' }, ['issuing']), { region: 'eu', replica: '' });
  assert.deepEqual(placeOf({}, ['root', 'jwt']), { region: '', replica: '' });
  assert.throws(() => placeOf({ replica: 'a' }, ['issuing', 'root']), invalid);
});

test('one share stands for every class of confirmation, and lies between 0 and 1', () => {
  assert.deepEqual(sharesOf({}), {});
  assert.deepEqual(sharesOf({ share: '0.9' }), {
    shares: { proven: 0.9, inferred: 0.9, unprovable: 0.9 },
  });
  for (const share of ['1.1', '-0.1', 'most']) assert.throws(() => sharesOf({ share }), invalid);
});

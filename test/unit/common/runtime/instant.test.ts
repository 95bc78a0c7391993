import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseInstant } from '../../../../src/common/runtime/instant.ts';

test('an instant is a day of the calendar, with a zone where it has a time', () => {
  assert.equal(parseInstant('2030-02-28'), 1_898_467_200);
  assert.equal(parseInstant('2032-02-29T12:00:00Z'), 1_961_668_800);
  assert.equal(parseInstant('2030-02-28T01:00:00+01:00'), 1_898_467_200);
  assert.equal(parseInstant('2030-02-28T00:00:00.500Z'), 1_898_467_200);
  for (const text of [
    '2030-02-30',
    '2030-02-29T00:00:00Z',
    '2030-13-01',
    '2030-04-31',
    '2030-02-28T12:00:00',
    '2030-02-28T25:00:00Z',
    'tomorrow',
    '1898467200',
    '',
  ])
    assert.equal(parseInstant(text), undefined, text);
});

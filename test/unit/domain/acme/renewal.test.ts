import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renewalWindow } from '../../../../src/domain/index.ts';

const day = 86_400;
const hour = 3_600;
const middle = `${'40'.repeat(12)}80000000`;
const of = (life: number, serial = middle) => ({ serial, notBefore: 0, notAfter: life });
const later = { now: 0, early: false };

test('the window lies where a third of the life is left, or half of a short life', () => {
  for (const [life, centre] of [
    [90 * day, 60 * day],
    [10 * day, (20 * day) / 3],
    [10 * day - 3, 5 * day - 1.5],
    [6 * day, 3 * day],
  ] as const) {
    const { start, end } = renewalWindow(of(life), later);
    assert.ok(Math.abs((start + end) / 2 - centre) <= 1, `${life}: ${start} to ${end}`);
    assert.ok(Math.abs(end - start - life / 50) <= 1, `${life}: ${start} to ${end}`);
  }
});

test('the serial moves the window by up to 1 % of the life, so that a fleet spreads', () => {
  const life = 100 * day;
  const starts = ['00000000', '40000000', '80000000', 'ffffffff'].map(
    (last) => renewalWindow(of(life, `40${last}`), later).start,
  );
  const low = (200 / 3 - 2) * day;
  assert.deepEqual(
    starts.map((start) => Math.round((start - low) / (day / 4)) / 4),
    [0, 0.5, 1, 2],
  );
});

test('the window of what ends early lies in the past, and clients ask again soon', () => {
  const now = 50 * day;
  assert.deepEqual(renewalWindow(of(90 * day), { now, early: true }), {
    start: now - hour,
    end: now - 1,
    askAgainSeconds: 600,
  });
});

test('clients ask each 6 hours, before the window begins, and each hour in it', () => {
  const ask = (life: number, now: number): number =>
    renewalWindow(of(life), { now, early: false }).askAgainSeconds;
  const { start } = renewalWindow(of(90 * day), later);
  assert.equal(ask(90 * day, 0), 6 * hour);
  assert.equal(ask(90 * day, start - 2 * hour), 2 * hour);
  assert.equal(ask(90 * day, start - 5), 60);
  assert.equal(ask(90 * day, start), hour);
  assert.equal(ask(2 * day, 0), 2 * hour, 'a short life: 24 times in it');
});

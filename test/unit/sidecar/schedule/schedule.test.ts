import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import {
  Agenda,
  backoffMs,
  clockJumpMs,
  latestRenewalPoint,
  pullForwardMs,
  reconnectCapMs,
  renewAtMonotonicMs,
  retryDelayMs,
  survivedOutageSeconds,
} from '../../../../sidecar/schedule/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const life = fc.integer({ min: 1, max: 400 * 86_400 });
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const instant = fc.double({ min: 0, max: 1e12, noNaN: true });

test('renewal comes around a third of the life after receipt and never after the latest renewal point', () => {
  fc.assert(
    fc.property(life, instant, random, (lifeSeconds, received, dice) => {
      const share =
        (renewAtMonotonicMs(lifeSeconds, received, dice) - received) / (lifeSeconds * 1000);
      assert.ok(share >= 1 / 3 - 1 / 15 - 1e-3 && share <= latestRenewalPoint + 1e-3);
    }),
  );
});

test('an outage as long as promised never reaches past the end of a life, whenever it starts', () => {
  fc.assert(
    fc.property(life, random, random, (lifeSeconds, dice, start) => {
      const renewal = renewAtMonotonicMs(lifeSeconds, 0, dice);
      // the worst outage starts just before the renewal
      const outageStart = renewal * start;
      assert.ok(
        outageStart + survivedOutageSeconds(lifeSeconds) * 1000 <= lifeSeconds * 1000 + 1e-3,
      );
      assert.ok(
        survivedOutageSeconds(lifeSeconds) * 2 >= lifeSeconds - 2 || lifeSeconds < 10,
        'more than half a life',
      );
    }),
  );
});

test('renewals of agents that started together spread over a sizeable part of the life', () => {
  const at = Array.from(
    { length: 1000 },
    (_, index) => renewAtMonotonicMs(3600, 0, index / 1000) / 1000,
  );
  const perMinute = new Map<number, number>();
  for (const each of at)
    perMinute.set(Math.floor(each / 60), (perMinute.get(Math.floor(each / 60)) ?? 0) + 1);
  assert.ok(Math.max(...perMinute.values()) < 150);
});

test('a pull-forward never delays, and stays inside its window', () => {
  fc.assert(
    fc.property(
      instant,
      instant,
      fc.integer({ min: 0, max: 86_400 }),
      random,
      (planned, now, window, dice) => {
        const moved = pullForwardMs(planned, now, window, dice);
        assert.ok(moved <= planned && moved <= now + window * 1000);
      },
    ),
  );
});

test('backoff grows to its cap, is never zero and never above the cap', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 100 }), random, (attempt, dice) => {
      const delay = backoffMs(attempt, dice, { baseMs: 500, capMs: 30_000 });
      assert.ok(delay >= 50 && delay <= 30_000);
    }),
  );
});

test('a failed renewal is tried again before the certificate ends', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 60 }),
      random,
      life,
      fc.double({ min: 2000, max: 1e9, noNaN: true }),
      (attempt, dice, lifeSeconds, remaining) => {
        const delay = retryDelayMs(attempt, dice, lifeSeconds, remaining);
        assert.ok(delay > 0 && delay <= Math.max(1000, remaining / 2) && delay <= 300_000);
      },
    ),
  );
});

test('a suspend shows as a jump of the wall clock against the monotonic one', () => {
  assert.equal(
    clockJumpMs({ wallMs: 0, monotonicMs: 0 }, { wallMs: 3_600_000, monotonicMs: 1000 }),
    3_599_000,
  );
  assert.equal(
    clockJumpMs({ wallMs: 10_000, monotonicMs: 0 }, { wallMs: 11_000, monotonicMs: 1000 }),
    0,
  );
});

test('an agenda runs each key once at its last set instant, in time order, and none that was deleted', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          key: fc.integer({ min: 0, max: 40 }),
          at: fc.integer({ min: 1, max: 100_000 }),
          remove: fc.boolean(),
        }),
        { maxLength: 300 },
      ),
      (steps) => {
        const clock = new FakeClock();
        const ran: [number, number][] = [];
        const agenda = new Agenda<number>(clock as Clock, (due) => {
          for (const key of due) ran.push([key, clock.monotonicMs()]);
        });
        const wanted = new Map<number, number>();
        for (const { key, at, remove } of steps) {
          if (remove) {
            agenda.delete(key);
            wanted.delete(key);
          } else {
            agenda.set(key, at);
            wanted.set(key, at);
          }
        }
        clock.advance(200_000);
        assert.deepEqual(new Set(ran.map(([key]) => key)), new Set(wanted.keys()));
        assert.equal(ran.length, wanted.size);
        for (const [key, at] of ran)
          assert.ok(
            at >= (wanted.get(key) as number) && at <= (wanted.get(key) as number) + 30_002,
          );
      },
    ),
    { numRuns: 50 },
  );
});

test('who is about to lose an SVID reconnects sooner than the configured bound, and never in a tight loop', () => {
  assert.equal(reconnectCapMs(30_000, undefined, undefined), 30_000);
  assert.equal(reconnectCapMs(30_000, 3_600, undefined), 30_000);
  assert.equal(reconnectCapMs(30_000, 60, undefined), 6_000);
  assert.equal(reconnectCapMs(30_000, 0, undefined), 250);
});

test('the shortest life in use bounds the wait before a reconnect, also when nothing is held any more', () => {
  assert.equal(reconnectCapMs(30_000, undefined, 60), 3_000);
  assert.equal(reconnectCapMs(30_000, undefined, 3_600), 30_000);
  assert.equal(reconnectCapMs(30_000, undefined, 5), 1_000);
  assert.equal(reconnectCapMs(30_000, 10, 60), 1_000);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { isOneLine } from '../../../../src/common/runtime/index.ts';
import { checkTarget, type StatedTarget } from '../../../../src/services/targets/target-report.ts';
import { seeded } from '../../../support/seeded.ts';

const texts = [
  '',
  'web',
  '../etc',
  'a\nb',
  '\u0000',
  'x'.repeat(5000),
  '1-aa',
  'turn',
  '__proto__',
];
const numbers = [0, 1, -1, 1.5, Number.NaN, Infinity, Number.MAX_SAFE_INTEGER, 2 ** 60];

/** Whatever the wire can carry: the types of the contract, with values that nobody expects. */
function odd(random: () => number): StatedTarget {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const or = (good: string): string => (random() < 0.8 ? good : pick(texts));
  const number = (): number => (random() < 0.6 ? 7 : pick(numbers));
  const set = () => ({
    ...{ name: or('1-aa'), serial: or('aa'), notBefore: number(), notAfter: number() },
    current: random() < 0.5,
  });
  return {
    ...{ name: or('web'), driver: or('nginx'), state: or('proven'), reason: or(''), next: or('') },
    ...{ spiffeId: or('spiffe://td/web'), since: number(), waitsFor: or('turn') },
    names: Array.from({ length: random() < 0.1 ? 21 : Math.floor(random() * 3) }, () => or('a.td')),
    sets: Array.from({ length: random() < 0.1 ? 21 : Math.floor(random() * 3) }, set),
    rollout:
      random() < 0.5
        ? null
        : { group: or('edge'), canaryShare: number(), observeSeconds: number() },
    turn: random() < 0.5 ? null : { set: or('1-aa'), part: or('canary') },
  };
}

test('whatever an agent states is refused with a code, or is safe to keep and to show', () => {
  const random = seeded(20261130);
  let taken = 0;
  for (let turn = 0; turn < 20_000; turn += 1) {
    const stated = odd(random);
    try {
      const { rollout, sets, ...target } = checkTarget(stated);
      taken += 1;
      assert.match(target.name, /^[a-z0-9-]{1,63}$/);
      for (const text of [target.driver, target.reason, target.next])
        assert.ok(isOneLine(text) && text.length <= 500);
      for (const set of sets) assert.match(set.name, /^[0-9]+-[0-9a-f]+$/);
      const times = sets.flatMap(({ notBefore, notAfter }) => [notBefore, notAfter]);
      for (const number of [target.since, rollout?.observeSeconds ?? 0, ...times])
        assert.ok(Number.isSafeInteger(number) && number >= 0);
      for (const at of [target.since, ...times])
        assert.doesNotThrow(() => new Date(at * 1000).toISOString(), `${at} can not be shown`);
      if (rollout !== undefined)
        assert.ok(rollout.canaryShare >= 0 && rollout.canaryShare <= 1, `${rollout.canaryShare}`);
    } catch (thrown) {
      assert.ok(thrown instanceof PkiError, String(thrown));
      assert.notEqual(thrown.code, 'INTERNAL');
    }
  }
  assert.ok(taken > 1000, `${taken}`);
});

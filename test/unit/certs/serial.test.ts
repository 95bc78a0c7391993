import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { systemRandom } from '../../../src/common/runtime/index.ts';
import { newSerial } from '../../../src/certs/index.ts';

suite('newSerial', () => {
  test('gives 16 positive octets without a leading zero, at any time', () => {
    for (const nowMs of [0, 1, 1e9, Date.UTC(2026, 0), Date.UTC(2100, 0), 2 ** 46 - 1]) {
      const serial = newSerial(nowMs, systemRandom);
      assert.equal(serial.length, 16);
      assert.match(serial.toString('hex'), /^[4-7]/);
    }
  });

  test('sorts by time and never repeats within a millisecond', () => {
    const start = Date.UTC(2026, 0);
    const serials = Array.from({ length: 2_000 }, (_, index) =>
      newSerial(start + index, systemRandom).toString('hex'),
    );
    assert.deepEqual([...serials].sort(), serials);
    assert.equal(
      new Set(Array.from({ length: 2_000 }, () => newSerial(start, systemRandom).toString('hex')))
        .size,
      2_000,
    );
  });

  test('takes 80 bits from the random source that it is given', () => {
    const asked: number[] = [];
    const serial = newSerial(1, {
      uniform: () => 0,
      bytes: (length) => (asked.push(length), Buffer.alloc(length, 0xab)),
    });
    assert.deepEqual(asked, [10]);
    assert.equal(serial.toString('hex'), `400000000001${'ab'.repeat(10)}`);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom, uuidv7 } from '../../../../src/common/runtime/index.ts';

test('no random bytes are given out twice, whatever lengths are asked for', () => {
  const seen = new Set<string>();
  const kept: Buffer[] = [];
  for (let index = 0; index < 5000; index++) {
    const length = [10, 16, 32, 64, 65, 300][index % 6] as number;
    const bytes = systemRandom.bytes(length);
    assert.equal(bytes.length, length);
    kept.push(bytes);
    seen.add(bytes.subarray(0, 10).toString('hex'));
    seen.add(uuidv7(0).slice(15));
  }
  assert.equal(seen.size, 10_000);
  // what was given out is the caller's: later draws do not change it
  assert.equal(new Set(kept.map((bytes) => bytes.subarray(0, 10).toString('hex'))).size, 5000);
});

test('an ID is a UUID of version 7 that begins with its millisecond, and no two are the same', () => {
  const seen = new Set<string>();
  for (let index = 0; index < 5000; index++) {
    const id = uuidv7(1_764_500_000_000 + Math.floor(index / 100));
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const stated = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
    assert.equal(stated, 1_764_500_000_000 + Math.floor(index / 100));
    seen.add(id.slice(14));
  }
  assert.equal(seen.size, 5000);
});

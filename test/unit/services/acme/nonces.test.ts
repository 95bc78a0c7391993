import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { Nonces } from '../../../../src/services/acme/nonces.ts';

const random = { bytes: (count: number) => randomBytes(count) };
const key = Buffer.alloc(32, 7);

describe('a nonce', () => {
  const clock = { at: 1_800_000_000, now: () => clock.at };
  const nonces = new Nonces({ key, clock, random, lifeSeconds: 3600 });

  it('is good at every replica with the same key, and after a restart', () => {
    const other = new Nonces({ key, clock, random, lifeSeconds: 3600 });
    const nonce = nonces.issue();
    assert.match(nonce, /^[A-Za-z0-9_-]+$/);
    assert.deepEqual(other.judge(nonce), nonces.judge(nonce));
    assert.equal(other.judge(nonce)?.expiresAt, clock.at + 3600);
  });

  it('is never made twice', () => {
    const ids = Array.from({ length: 1000 }, () => nonces.judge(nonces.issue())?.id);
    assert.equal(new Set(ids).size, 1000);
  });

  it('is refused from the end of its life on', () => {
    const nonce = nonces.issue();
    clock.at += 3599;
    assert.ok(nonces.judge(nonce));
    clock.at += 1;
    assert.equal(nonces.judge(nonce), undefined);
  });

  it('is refused if the clock of its maker was far ahead', () => {
    const ahead = new Nonces({
      key,
      clock: { now: () => clock.at + 61 },
      random,
      lifeSeconds: 3600,
    });
    assert.equal(nonces.judge(ahead.issue()), undefined);
  });

  it('is refused with any bit changed, and in any other text', () => {
    const bytes = Buffer.from(nonces.issue(), 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const altered = Buffer.from(bytes);
      altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.equal(nonces.judge(altered.toString('base64url')), undefined, String(bit));
    }
    const text = bytes.toString('base64url');
    for (const other of ['', `${text}=`, `${text}A`, text.slice(1), bytes.toString('hex')])
      assert.equal(nonces.judge(other), undefined, other);
  });

  it('of another key is refused', () => {
    const other = new Nonces({ key: Buffer.alloc(32, 8), clock, random, lifeSeconds: 3600 });
    assert.equal(nonces.judge(other.issue()), undefined);
  });

  it('needs a key of 32 bytes', () => {
    assert.throws(
      () => new Nonces({ key: Buffer.alloc(31), clock, random, lifeSeconds: 1 }),
      RangeError,
    );
  });
});

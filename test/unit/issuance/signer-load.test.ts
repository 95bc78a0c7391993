import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SignerLoad } from '../../../src/issuance/signer-load.ts';

const busy = (): boolean => true;

test('nobody waits while the signers could begin with more', () => {
  const load = new SignerLoad();
  let isBusy = false;
  assert.equal(load.holds(1), false, 'nothing is being signed');
  const answered = load.begin(11, () => isBusy);
  assert.equal(load.holds(1), false, 'a signer is idle');
  isBusy = true;
  assert.equal(load.holds(1), true);
  answered();
  assert.equal(load.holds(1), false, 'others keep the signers busy, and nobody tells of their end');
});

test('while the signers are busy, others gather until they are more than those', () => {
  const load = new SignerLoad();
  const answered = [load.begin(8, busy), load.begin(8, busy)] as const;
  assert.equal(load.holds(1), true);
  assert.equal(load.holds(16), true);
  assert.equal(load.holds(17), false, 'the waiting half is the larger one');
  answered[0]();
  assert.equal(load.holds(9), false);
  answered[1]();
  const batch = load.begin(500, busy);
  assert.equal(load.holds(63), true);
  assert.equal(load.holds(64), false, 'a large group gains nothing by waiting');
  batch();
});

test('without signers, and for certificates that name no load, nothing is held for ever', () => {
  const load = new SignerLoad();
  const server = load.begin(100, undefined);
  assert.equal(load.holds(1), false);
  server();
  assert.equal(load.holds(1), false);
  const failing = load.begin(3, busy);
  failing();
  assert.equal(load.holds(1), false, 'whatever was at the signers has been answered');
});

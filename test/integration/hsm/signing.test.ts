import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, randomBytes, randomInt, verify } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { keyTypes } from '../../../src/common/x509/key-type.ts';
import type { KeyHandle, SignItem, SignOutcome } from '../../../src/hsm/index.ts';
import { hsmFixture, newRequester, proofBy, type HsmFixture } from '../../support/hsm.ts';
import { nextTurn } from '../../support/until.ts';

const hashOf = (key: KeyHandle): string => (key.keyType === 'ec-p384' ? 'sha384' : 'sha256');

function isValid(key: KeyHandle, item: SignItem, outcome: SignOutcome | undefined): boolean {
  if (outcome?.ok !== true) return false;
  const publicKey = createPublicKey({ key: key.spkiDer, format: 'der', type: 'spki' });
  return verify(
    hashOf(key),
    item.bytes,
    { key: publicKey, dsaEncoding: item.format === 'x509' ? 'der' : 'ieee-p1363' },
    outcome.signature,
  );
}

describe('signing with a real token', () => {
  let fixture: HsmFixture;
  let keys: KeyHandle[];

  before(async () => {
    fixture = await hsmFixture();
    keys = [];
    for (const keyType of keyTypes) keys.push(await fixture.makeKey(keyType));
  });
  after(() => fixture[Symbol.asyncDispose]());

  for (const mode of ['sync', 'async', 'auto'] as const) {
    it(`signs with every key type in both formats, mode ${mode}`, async () => {
      const signers = await fixture.signers({ mode });
      const items: { key: KeyHandle; item: SignItem }[] = [];
      for (const key of keys) {
        await signers.useKey(key);
        for (const format of ['x509', 'jose'] as const) {
          for (let round = 0; round < 5; round++)
            items.push({
              key,
              item: { ckaId: key.ckaId, bytes: randomBytes(1 + randomInt(900)), format },
            });
        }
      }
      const outcomes = await signers.sign(items.map(({ item }) => item));
      assert.equal(outcomes.length, items.length);
      items.forEach(({ key, item }, index) =>
        assert.ok(isValid(key, item, outcomes[index]), `${key.keyType} ${item.format}`),
      );
      assert.equal(signers.state().signatures, items.length);
      assert.equal(signers.state().inFlight, 0);
      await signers.close();
    });
  }

  it('answers each call in the order of its items, whatever else runs at the same time', async () => {
    for (const mode of ['sync', 'async'] as const) {
      const signers = await fixture.signers({ mode });
      const key = keys[0] as KeyHandle;
      await signers.useKey(key);
      const calls = Array.from({ length: 60 }, async () => {
        for (let turns = randomInt(30); turns > 0; turns -= 1) await nextTurn();
        const items = Array.from({ length: 1 + randomInt(25) }, (): SignItem => {
          const bad = randomInt(5) === 0;
          const proof = proofBy(newRequester());
          return {
            ckaId: key.ckaId,
            bytes: randomBytes(100),
            format: 'x509',
            proof: bad ? { ...proof, signedBytes: randomBytes(10) } : proof,
          };
        });
        const expected = items.map(({ proof }) => proof?.signedBytes.length !== 10);
        const outcomes = await signers.sign(items);
        items.forEach((item, index) => {
          const outcome = outcomes[index] as SignOutcome;
          assert.equal(outcome.ok, expected[index]);
          if (outcome.ok) assert.ok(isValid(key, item, outcome));
          else assert.deepEqual([outcome.kind, outcome.code], ['refused', 'CSR_SIGNATURE_INVALID']);
        });
      });
      await Promise.all(calls);
      await signers.close();
    }
  });

  it('refuses proofs of weak, malformed and foreign keys, each with its code, and signs nothing for them', async () => {
    const signers = await fixture.signers();
    const key = keys[0] as KeyHandle;
    await signers.useKey(key);
    const good = proofBy(newRequester());
    const offCurve = Buffer.from(good.spkiDer);
    offCurve[offCurve.length - 1] = (offCurve.at(-1) as number) ^ 1;
    const rsa = (modulusLength: number, publicExponent = 65_537) =>
      proofBy(generateKeyPairSync('rsa', { modulusLength, publicExponent }), 'rsa-sha256');
    const cases: readonly (readonly [string, SignItem['proof'], string])[] = [
      ['point off the curve', { ...good, spkiDer: offCurve }, 'KEY_WEAK'],
      ['no key at all', { ...good, spkiDer: Buffer.alloc(0) }, 'KEY_WEAK'],
      ['short RSA', rsa(1024), 'KEY_WEAK'],
      ['RSA exponent 3', rsa(2048, 3), 'KEY_WEAK'],
      ['secp256k1', proofBy(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), 'KEY_WEAK'],
      ['other key', { ...good, spkiDer: proofBy(newRequester()).spkiDer }, 'CSR_SIGNATURE_INVALID'],
      ['empty signature', { ...good, signature: Buffer.alloc(0) }, 'CSR_SIGNATURE_INVALID'],
      ['wrong hash', { ...good, algorithm: 'ecdsa-sha384' }, 'CSR_SIGNATURE_INVALID'],
      ['RSA scheme with an EC key', { ...good, algorithm: 'rsa-sha256' }, 'CSR_SIGNATURE_INVALID'],
      [
        'unknown scheme',
        { ...good, algorithm: 'toString' as 'rsa-sha256' },
        'CSR_SIGNATURE_INVALID',
      ],
    ];
    const outcomes = await signers.sign(
      cases.map(([, proof]) => ({
        ckaId: key.ckaId,
        bytes: randomBytes(50),
        format: 'x509',
        ...(proof === undefined ? {} : { proof }),
      })),
    );
    cases.forEach(([name, , code], index) => {
      const outcome = outcomes[index] as SignOutcome;
      assert.ok(!outcome.ok, name);
      assert.deepEqual([outcome.kind, outcome.code], ['refused', code], name);
    });
    assert.equal(signers.state().signatures, 0);
    const accepted = [
      rsa(2048),
      good,
      proofBy(generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'ecdsa-sha384'),
    ];
    const signed = await signers.sign(
      accepted.map((proof) => ({
        ckaId: key.ckaId,
        bytes: randomBytes(50),
        format: 'x509',
        proof,
      })),
    );
    assert.ok(signed.every(({ ok }) => ok));
    await signers.close();
  });

  it('fails items of a key that is not in use, and of one that was forgotten', async () => {
    const signers = await fixture.signers({ processes: 1 });
    const key = keys[0] as KeyHandle;
    const item: SignItem = { ckaId: key.ckaId, bytes: randomBytes(5), format: 'x509' };
    const codeOf = async (): Promise<string> => {
      const [outcome] = await signers.sign([item]);
      return outcome?.ok === false ? outcome.code : 'signed';
    };
    assert.equal(await codeOf(), 'HSM_KEY_NOT_FOUND');
    await signers.useKey(key);
    assert.equal(await codeOf(), 'signed');
    await signers.forgetKey(key.ckaId);
    assert.equal(await codeOf(), 'HSM_KEY_NOT_FOUND');
    await signers.close();
    assert.equal(await codeOf(), 'SHUTTING_DOWN');
    assert.equal(signers.state().status, 'closed');
  });

  it('signs with a key that was made after the signers had started', async () => {
    const signers = await fixture.signers();
    const key = await fixture.makeKey('ec-p256');
    await signers.useKey(key);
    const items = Array.from(
      { length: 20 },
      (): SignItem => ({ ckaId: key.ckaId, bytes: randomBytes(30), format: 'jose' }),
    );
    const outcomes = await signers.sign(items);
    items.forEach((item, index) => assert.ok(isValid(key, item, outcomes[index])));
    await signers.close();
  });

  it('returns no corrupt signature where garbage is collected under asynchronous calls', async () => {
    const signers = await fixture.signers({ mode: 'async', sessionsPerProcess: 8 });
    const key = keys[0] as KeyHandle;
    await signers.useKey(key);
    // A corrupt one would make the port fatal, since each is verified in the signer.
    for (let round = 0; round < 5; round++) {
      const items = Array.from(
        { length: 500 },
        (): SignItem => ({ ckaId: key.ckaId, bytes: randomBytes(2000), format: 'x509' }),
      );
      assert.ok((await signers.sign(items)).every(({ ok }) => ok));
    }
    assert.equal(signers.state().status, 'ready');
    assert.equal(signers.state().respawns, 0);
    await signers.close();
  });

  it('hands over what comes to a signer that has idle sessions, without a wait for what it signs', async () => {
    const signers = await fixture.signers({ mode: 'async', processes: 1, deadlineMs: 60_000 });
    const key = keys[0] as KeyHandle;
    await signers.useKey(key);
    const [pid] = signers.pids();
    process.kill(pid as number, 'SIGSTOP');
    const items: SignItem[] = [{ ckaId: key.ckaId, bytes: randomBytes(100), format: 'x509' }];
    const calls = [];
    try {
      for (let call = 1; call <= 4; call += 1) {
        calls.push(signers.sign(items));
        for (let turns = 0; turns < 5; turns += 1) await nextTurn();
        assert.equal(signers.state().chunks, call);
      }
    } finally {
      process.kill(pid as number, 'SIGCONT');
    }
    for (const outcomes of await Promise.all(calls)) assert.equal(outcomes[0]?.ok, true);
    await signers.close();
  });

  it('answers OVERLOADED for what does not fit its queue, and an empty call at once', async () => {
    const signers = await fixture.signers({ processes: 1, maxQueued: 10 });
    const key = keys[0] as KeyHandle;
    await signers.useKey(key);
    assert.deepEqual(await signers.sign([]), []);
    const items = Array.from(
      { length: 11 },
      (): SignItem => ({ ckaId: key.ckaId, bytes: randomBytes(30), format: 'x509' }),
    );
    const outcomes = await signers.sign(items);
    assert.ok(
      outcomes.every(
        (outcome) => !outcome.ok && outcome.kind === 'failed' && outcome.code === 'OVERLOADED',
      ),
    );
    assert.ok((await signers.sign(items.slice(1))).every(({ ok }) => ok));
    await signers.close();
  });
});

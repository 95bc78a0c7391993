import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import graphene from 'graphene-pk11';

import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import { keyTypes, type KeyType } from '../../../src/common/x509/key-type.ts';
import { openTokenAdmin, type KeyHandle, type TokenAdmin } from '../../../src/hsm/index.ts';
import {
  adminOptions,
  childrenOf,
  hsmFixture,
  newRequester,
  proofBy,
  type HsmFixture,
} from '../../support/hsm.ts';
import { LeapClock } from '../../support/local-server-fakes.ts';
import { inToken } from '../../support/in-token.ts';
import { until } from '../../support/until.ts';

const withCode = (code: ErrorCode) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code;

describe('keys in a real token', () => {
  let fixture: HsmFixture;
  let admin: TokenAdmin;
  before(async () => {
    fixture = await hsmFixture();
    admin = await openTokenAdmin(fixture.token, adminOptions);
  });
  after(async () => {
    await admin.close();
    await fixture[Symbol.asyncDispose]();
  });

  for (const keyType of keyTypes) {
    it(`makes a key of type ${keyType}, finds it again, signs with it and destroys it`, async () => {
      const ckaId = randomBytes(16).toString('hex');
      const label = `meshca/example.org/issuing/${keyType}`;
      const { spkiDer } = await admin.generateKey({ ckaId, label, keyType });
      assert.deepEqual(await admin.findKey(ckaId), { ckaId, label, keyType, spkiDer });
      const publicKey = createPublicKey({ key: spkiDer, format: 'der', type: 'spki' });
      assert.deepEqual(publicKey.export({ format: 'der', type: 'spki' }), spkiDer);
      if (publicKey.asymmetricKeyType === 'rsa')
        assert.equal(publicKey.asymmetricKeyDetails?.publicExponent, 65_537n);

      const bytes = randomBytes(500);
      const signature = await admin.sign({ ckaId, keyType, spkiDer }, bytes);
      assert.ok(verify(keyType === 'ec-p384' ? 'sha384' : 'sha256', bytes, publicKey, signature));

      await assert.rejects(
        admin.generateKey({ ckaId, label, keyType }),
        withCode('ALREADY_EXISTS'),
      );
      await admin.destroyKey(ckaId);
      assert.equal(await admin.findKey(ckaId), undefined);
      await assert.rejects(
        admin.sign({ ckaId, keyType, spkiDer }, bytes),
        withCode('HSM_KEY_NOT_FOUND'),
      );
      await assert.rejects(admin.destroyKey(ckaId), withCode('HSM_KEY_NOT_FOUND'));
    });
  }

  it('asks for every attribute of a signing key, since the token grants what is left out', async () => {
    const key = await fixture.makeKey('ec-p256');
    const attributes = inToken(fixture, (session) => {
      const found = session
        .find({ class: graphene.ObjectClass.PRIVATE_KEY, id: Buffer.from(key.ckaId, 'hex') })
        .items(0);
      const names = {
        sensitive: null,
        alwaysSensitive: null,
        extractable: null,
        neverExtractable: null,
        local: null,
        modifiable: null,
        sign: null,
        decrypt: null,
        unwrap: null,
        derive: null,
        signRecover: null,
        private: null,
        token: null,
      };
      return found.getAttribute(names as unknown as graphene.ITemplate);
    });
    assert.deepEqual(
      { ...attributes },
      {
        sensitive: true,
        alwaysSensitive: true,
        extractable: false,
        neverExtractable: true,
        local: true,
        modifiable: false,
        sign: true,
        decrypt: false,
        unwrap: false,
        derive: false,
        signRecover: false,
        private: true,
        token: true,
      },
    );
  });

  it('refuses to sign with a key that is extractable, not sensitive, or may decrypt or unwrap', async () => {
    const signers = await fixture.signers({ processes: 1 });
    const fit = await fixture.makeKey('ec-p256');
    for (const fault of [
      { extractable: true },
      { sensitive: false },
      { derive: true },
      { sign: false },
    ]) {
      const ckaId = makeFaulty(fixture, fault);
      await assert.rejects(admin.findKey(ckaId), withCode('HSM_KEY_UNFIT'), JSON.stringify(fault));
      const handle: KeyHandle = { ...fit, ckaId };
      await assert.rejects(admin.sign(handle, Buffer.from('x')), withCode('HSM_KEY_UNFIT'));
      await assert.rejects(signers.useKey(handle), withCode('HSM_KEY_UNFIT'));
    }
    assert.equal(signers.state().status, 'ready');
    await signers.useKey(fit);
    await signers.close();
  });

  it('refuses a key that was made outside the token', async () => {
    const ckaId = importKey(fixture);
    await assert.rejects(admin.findKey(ckaId), withCode('HSM_KEY_UNFIT'));
    assert.ok(
      (await admin.listKeys()).some((key) => key.ckaId === ckaId),
      'it is listed all the same',
    );
  });

  it('refuses two private keys with one CKA_ID rather than guess', async () => {
    const key = await fixture.makeKey('ec-p256');
    makeFaulty(fixture, {}, key.ckaId);
    await assert.rejects(admin.findKey(key.ckaId), withCode('HSM_KEY_UNFIT'));
    const signers = await fixture.signers({ processes: 1 });
    await assert.rejects(signers.useKey(key), withCode('HSM_KEY_UNFIT'));
    await signers.close();
  });

  it('refuses a key of another type than recorded, and one that is not there', async () => {
    const [ec, rsa] = [await fixture.makeKey('ec-p256'), await fixture.makeKey('rsa-2048')];
    const signers = await fixture.signers();
    await assert.rejects(
      signers.useKey({ ...ec, keyType: 'ec-p384' as KeyType }),
      withCode('HSM_KEY_UNFIT'),
    );
    await assert.rejects(
      signers.useKey({ ...ec, keyType: 'rsa-2048', spkiDer: rsa.spkiDer }),
      withCode('HSM_KEY_UNFIT'),
    );
    await assert.rejects(signers.useKey({ ...ec, ckaId: 'ffff' }), withCode('HSM_KEY_NOT_FOUND'));
    await assert.rejects(
      signers.useKey({ ...ec, spkiDer: Buffer.from('junk') }),
      withCode('HSM_KEY_UNFIT'),
    );
    assert.equal(signers.state().status, 'ready');
    assert.equal(signers.state().respawns, 0);
    await signers.close();
  });

  it('signs again once the token that holds the keys takes the place of another', async () => {
    const key = await fixture.makeKey('ec-p256');
    const bytes = Buffer.from('to be signed');
    const other = { ...fixture.token, tokenLabel: fixture.tokens.tokens.root.label };
    const mixedUp = await fixture.signers({
      token: { ...other, pin: fixture.tokens.tokens.root.pin },
    });
    await assert.rejects(mixedUp.useKey(key), withCode('HSM_KEY_NOT_FOUND'));
    await mixedUp.close();
    const signers = await fixture.signers();
    await signers.useKey(key);
    const [outcome] = await signers.sign([
      { ckaId: key.ckaId, bytes, format: 'x509', proof: proofBy(newRequester()) },
    ]);
    await signers.close();
    assert.ok(outcome?.ok === true, JSON.stringify(outcome));
    const publicKey = createPublicKey({ key: key.spkiDer, format: 'der', type: 'spki' });
    assert.ok(verify('sha256', bytes, publicKey, outcome.signature));
  });

  it("becomes fatal if the token's key is not the recorded key, and returns no signature any more", async () => {
    const [mine, foreign] = [await fixture.makeKey('ec-p256'), await fixture.makeKey('ec-p256')];
    await assert.rejects(
      admin.sign({ ...mine, spkiDer: foreign.spkiDer }, Buffer.from('x')),
      withCode('HSM_SIGNATURE_INVALID'),
    );
    const clock = new LeapClock();
    const signers = await fixture.signers({ clock });
    await signers.useKey(mine);
    await assert.rejects(
      signers.useKey({ ...foreign, spkiDer: mine.spkiDer }),
      withCode('HSM_SIGNATURE_INVALID'),
    );
    await until(() => signers.state().status === 'fatal', 'fatal');
    const [outcome] = await signers.sign([
      { ckaId: mine.ckaId, bytes: Buffer.from('x'), format: 'x509' },
    ]);
    assert.ok(
      outcome?.ok === false &&
        outcome.kind === 'failed' &&
        outcome.code === 'HSM_SIGNATURE_INVALID',
    );
    clock.leap(3_600_000);
    await clock.caughtUp();
    assert.equal(signers.state().respawns, 0);
    await signers.close();
  });

  it('refuses a CKA_ID that is no hex, ends its process on close, and fails calls after it', async () => {
    await assert.rejects(
      admin.generateKey({ ckaId: 'xyz', label: 'x', keyType: 'ec-p256' }),
      withCode('INVALID_REQUEST'),
    );
    const before = childrenOf(process.pid).length;
    const other = await openTokenAdmin(fixture.token, adminOptions);
    assert.equal(childrenOf(process.pid).length, before + 1);
    await other.close();
    assert.equal(childrenOf(process.pid).length, before);
    await assert.rejects(other.listKeys(), withCode('SHUTTING_DOWN'));
  });

  it('gives up an operation that misses its deadline and kills the process', async () => {
    const slow = await openTokenAdmin(fixture.token, { ...adminOptions, generateDeadlineMs: 20 });
    await assert.rejects(
      slow.generateKey({
        ckaId: randomBytes(8).toString('hex'),
        label: 'slow',
        keyType: 'rsa-4096',
      }),
      withCode('HSM_UNAVAILABLE'),
    );
    await assert.rejects(slow.listKeys(), withCode('HSM_UNAVAILABLE'));
    await slow.close();
  });
});

const p256 = Buffer.from('06082a8648ce3d030107', 'hex');

function makeFaulty(
  fixture: HsmFixture,
  fault: object,
  ckaId = randomBytes(8).toString('hex'),
): string {
  const id = Buffer.from(ckaId, 'hex');
  inToken(fixture, (session) => {
    session.generateKeyPair(
      graphene.KeyGenMechanism.EC,
      { token: true, verify: true, id, paramsEC: p256 },
      {
        token: true,
        sensitive: true,
        extractable: false,
        sign: true,
        decrypt: false,
        unwrap: false,
        derive: false,
        id,
        ...fault,
      },
    );
  });
  return ckaId;
}

function importKey(fixture: HsmFixture): string {
  const ckaId = randomBytes(8).toString('hex');
  inToken(fixture, (session) => {
    session.create({
      class: graphene.ObjectClass.PRIVATE_KEY,
      keyType: graphene.KeyType.EC,
      token: true,
      private: true,
      sensitive: true,
      extractable: false,
      sign: true,
      derive: false,
      id: Buffer.from(ckaId, 'hex'),
      paramsEC: p256,
      value: randomBytes(32),
    });
  });
  return ckaId;
}

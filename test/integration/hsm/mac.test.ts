import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';

import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import {
  openTokenAdmin,
  SignerRouter,
  type MacKeyHandle,
  type TokenAdmin,
} from '../../../src/hsm/index.ts';
import { adminOptions, hsmFixture, type HsmFixture } from '../../support/hsm.ts';
import { inToken } from '../../support/in-token.ts';
import { until } from '../../support/until.ts';

const withCode = (code: ErrorCode) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code;

const input = Buffer.from('meshca test');

describe('secret keys for MACs in a real token', () => {
  let fixture: HsmFixture;
  let admin: TokenAdmin;
  let key: MacKeyHandle;
  before(async () => {
    fixture = await hsmFixture();
    admin = await openTokenAdmin(fixture.token, adminOptions);
    key = await newKey();
  });
  after(async () => {
    await admin.close();
    await fixture[Symbol.asyncDispose]();
  });

  async function newKey(): Promise<MacKeyHandle> {
    const ckaId = randomBytes(16).toString('hex');
    return { ckaId, ...(await admin.generateMacKey({ ckaId, label: 'meshca/test/mac' })) };
  }

  it('asks for every attribute, so that the key can do nothing but MACs, and finds it again', async () => {
    const attributes = inToken(fixture, (session) =>
      session
        .find({ class: graphene.ObjectClass.SECRET_KEY, id: Buffer.from(key.ckaId, 'hex') })
        .items(0)
        .getAttribute(
          Object.fromEntries(attributeNames.map((name) => [name, null])) as graphene.ITemplate,
        ),
    );
    const yes = [
      'token',
      'private',
      'sensitive',
      'alwaysSensitive',
      'neverExtractable',
      'local',
      'sign',
    ];
    assert.deepEqual(
      { ...attributes },
      Object.fromEntries(attributeNames.map((name) => [name, yes.includes(name)])),
    );
    assert.deepEqual((await admin.findMacKey(key.ckaId))?.checkValue, key.checkValue);
    assert.equal(await admin.findMacKey('ffff'), undefined);
    await assert.rejects(
      admin.generateMacKey({ ckaId: key.ckaId, label: 'meshca/test/mac' }),
      withCode('ALREADY_EXISTS'),
    );
  });

  it('keys that could leave the token, or do more, are refused', async () => {
    const signers = await fixture.signers({ processes: 1 });
    for (const fault of [
      { extractable: true },
      { sensitive: false },
      { derive: true },
      { encrypt: true },
      { wrap: true },
      { sign: false },
    ]) {
      const ckaId = makeFaulty(fixture, fault);
      const unfit = withCode('HSM_KEY_UNFIT');
      await assert.rejects(admin.findMacKey(ckaId), unfit, JSON.stringify(fault));
      await assert.rejects(signers.useMacKey({ ...key, ckaId }), unfit);
    }
    const other = await newKey();
    await assert.rejects(
      signers.useMacKey({ ...other, checkValue: key.checkValue }),
      withCode('HSM_KEY_UNFIT'),
      'another key than was recorded',
    );
    await assert.rejects(
      signers.useMacKey({ ...key, ckaId: 'ffff' }),
      withCode('HSM_KEY_NOT_FOUND'),
    );
    await assert.rejects(signers.mac(key.ckaId, input), withCode('HSM_KEY_NOT_FOUND'));
    assert.equal(signers.state().status, 'ready');
    await signers.close();
  });

  for (const mode of ['sync', 'async', 'auto'] as const)
    it(`signers give one MAC for one input, also those that came later (${mode})`, async () => {
      const signing = await fixture.makeKey('ec-p256');
      const signers = await fixture.signers({ mode });
      await signers.useMacKey(key);
      await signers.useKey(signing);
      const mac = await signers.mac(key.ckaId, input);
      assert.equal(mac.length, 32);
      assert.notDeepEqual(await signers.mac(key.ckaId, Buffer.from('other')), mac);
      const [before, respawns] = [signers.pids(), signers.state().respawns];
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await until(
        () =>
          signers.state().respawns >= respawns + 2 &&
          signers.pids().length === 2 &&
          signers.pids().every((pid) => !before.includes(pid)),
        'both signers are new',
      );
      signers.invalidateSessions();
      await until(async () => {
        const again = await signers.mac(key.ckaId, input).catch(() => undefined);
        return again?.equals(mac) === true;
      }, 'the same MAC after its sessions were lost');
      const [outcome] = await signers.sign([{ ckaId: key.ckaId, bytes: input, format: 'x509' }]);
      assert.ok(outcome?.ok === false && outcome.code === 'HSM_KEY_NOT_FOUND', 'it signs nothing');
      await assert.rejects(
        signers.mac(signing.ckaId, input),
        withCode('HSM_KEY_NOT_FOUND'),
        'a key pair gives no MAC',
      );
      await signers.close();
      await assert.rejects(signers.mac(key.ckaId, input), withCode('SHUTTING_DOWN'));
    });

  it('a router asks the token that has the key', async () => {
    const [signers, none] = [await fixture.signers(), await fixture.signers()];
    const router = new SignerRouter(
      new Map([
        ['issuing', signers],
        ['standby', none],
      ]),
    );
    await assert.rejects(router.mac(key.ckaId, input), withCode('HSM_KEY_NOT_FOUND'));
    await router.useMacKey({ ...key, token: 'issuing' });
    assert.deepEqual(await router.mac(key.ckaId, input), await signers.mac(key.ckaId, input));
    await assert.rejects(
      router.useMacKey({ ...key, token: 'elsewhere' }),
      withCode('HSM_UNAVAILABLE'),
    );
    await router.close();
  });
});

const attributeNames = [
  ...['token', 'private', 'sensitive', 'alwaysSensitive', 'extractable', 'neverExtractable'],
  ...['local', 'modifiable', 'sign', 'verify', 'encrypt', 'decrypt', 'wrap', 'unwrap', 'derive'],
];

function makeFaulty(fixture: HsmFixture, fault: object): string {
  const id = randomBytes(8);
  inToken(fixture, (session) =>
    session.generateKey(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, {
      class: graphene.ObjectClass.SECRET_KEY,
      keyType: graphene.KeyType.GENERIC_SECRET,
      valueLen: 32,
      ...{ token: true, private: true, sensitive: true, extractable: false, sign: true },
      ...{ verify: false, encrypt: false, decrypt: false, wrap: false, unwrap: false },
      derive: false,
      id,
      ...fault,
    }),
  );
  return id.toString('hex');
}

import assert from 'node:assert/strict';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, sha256Hex, spkiOf } from '../../../../src/common/x509/index.ts';
import {
  NameOwners,
  readCanonical,
  type AcmeAccount,
  type AcmeOrder,
  type Authorization,
  type EabKey,
  type NameOwner,
} from '../../../../src/domain/index.ts';
import { InventoryProof } from '../../../../src/services/index.ts';
import { AcmeRefusal } from '../../../../src/services/acme/problem.ts';
import { AcmeRevocation } from '../../../../src/services/acme/revocation.ts';
import { unlistedNote } from '../../../../src/services/revoking/revocability.ts';
import { Revoker } from '../../../../src/services/revoking/revoker.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  createServicesWorld,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';

const names = ['www.shop.test', '*.shop.test'];
const day = 86_400;
const tenant = (name: string, suffix: string, over: Partial<NameOwner> = {}): NameOwner => ({
  ...{ name, dnsSuffixes: [suffix], spiffePrefixes: [], quotaCertificates: 0, quotaSeconds: 0 },
  ...{ state: 'active', ...over },
});

/** A certificate for both names of the account `a1`, and accounts that want to revoke it. */
// oxlint-disable-next-line test-sizes/function-lines -- one scene, part by part
async function world({
  profile = 'classic',
  dnsNames = names,
  remains,
}: {
  readonly profile?: string;
  readonly dnsNames?: readonly string[];
  readonly remains?: Parameters<typeof createServicesWorld>[1];
} = {}) {
  const w = await createServicesWorld({ revocable: true }, remains);
  const key = newKey();
  const { leaf } = await w.services.names.issue(local, {
    ...{ requestId: uuidv7(), dnsNames, ips: [], csrDer: createCsr(key), profile },
    ttlSeconds: 0,
  });
  const certificateDer = leaf.chainDer[0] as Buffer;
  const orders: AcmeOrder[] = [order(w, 'a1', { stage: 'issued', serial: leaf.serial })];
  const eabKey = { id: 'k1', revokedAt: null as number | null, expiresAt: 0 };
  const used: string[] = [];
  const tenants = { now: new NameOwners([tenant('t1', 'shop.test')]) };
  const { audit, blockedKeys, certificates, objects, revocations } = w.store;
  const revocation = new AcmeRevocation({
    certificates,
    revocations,
    blockedKeys,
    inventory: new InventoryProof({
      ...{ audit, objects, clock: w.clock },
      facts: { holds: () => Promise.resolve(true) },
    }),
    authorities: { all: () => [w.issuing] },
    revoker: new Revoker({
      ...{ revocations, blockedKeys, clock: w.clock },
      callers: { announce: () => {} },
      pulls: w.services.sync,
    }),
    orders: {
      bySerial: (serial) => Promise.resolve(orders.find((each) => each.serial === serial)),
      list: ({ accountId }, { after = '' }) =>
        Promise.resolve({
          items: orders.filter((each) => each.accountId === accountId && each.id > after),
          next: undefined,
        }),
    },
    eabKeys: { byId: () => Promise.resolve(eabKey as EabKey) },
    owners: () => tenants.now,
    useNonce: ({ id }) => Promise.resolve(void used.push(id)),
    longestAuthorizationSeconds: 30 * day,
    clock: w.clock,
  });
  const ask = async (
    by: string | KeyObject,
    { certificate = certificateDer, reason }: { certificate?: Buffer; reason?: number } = {},
  ): Promise<string> => {
    const payload = { certificate: certificate.toString('base64url'), reason };
    try {
      const { status } = await revocation.revoke({
        url: 'https://ca.test/acme/revoke-cert',
        key: {
          key: createPublicKey(typeof by === 'string' ? newKey() : by),
        } as Parameters<typeof revocation.revoke>[0]['key'],
        payload: Buffer.from(JSON.stringify(payload)),
        nonce: { id: uuidv7(), expiresAt: 0 },
        client: '192.0.2.1',
        signal: AbortSignal.abort(),
        account:
          typeof by === 'string'
            ? ({ id: by, eabKeyId: 'k1', tenant: 't1' } as AcmeAccount)
            : undefined,
      });
      return String(status);
    } catch (thrown) {
      if (thrown instanceof AcmeRefusal) return thrown.problem.type;
      throw thrown;
    }
  };
  const isRevoked = (): boolean => revocations.revoked(leaf.serial);
  const shown = (over: Partial<Authorization> = {}, wanted = names): void =>
    void orders.push(order(w, 'a2', {}, { wanted, authorization: over }));
  const { serial } = leaf;
  return { w, key, certificateDer, serial, eabKey, tenants, used, ask, isRevoked, shown };
}

function order(
  w: ServicesWorld,
  accountId: string,
  over: Partial<AcmeOrder>,
  {
    wanted = names,
    authorization = {},
  }: {
    readonly wanted?: readonly string[];
    readonly authorization?: Partial<Authorization>;
  } = {},
): AcmeOrder {
  return {
    id: uuidv7(w.clock.nowMs()),
    accountId,
    stage: 'open',
    serial: null,
    authorizations: wanted.map((name) => ({
      identifier: { type: 'dns', value: name.replace('*.', '') },
      wildcard: name.startsWith('*.'),
      status: 'valid',
      shownBy: 'challenge',
      expiresAt: w.clock.now() + 10,
      token: '',
      challenges: [],
      ...authorization,
    })),
    ...over,
  } as AcmeOrder;
}

test('the account that ordered a certificate revokes it once, with its reason, and blocks no key', async () => {
  const { w, key, serial, used, ask } = await world();
  await using _ = w;
  assert.equal(await ask('a1', { reason: 4 }), '200');
  const revocation = w.store.revocations.revocation(serial);
  assert.deepEqual([revocation?.reason, revocation?.revokedBy], ['superseded', 'acme:a1']);
  assert.equal(w.store.blockedKeys.get(sha256Hex(spkiOf(key))), undefined);
  assert.equal(await ask('a1', { reason: 1 }), 'alreadyRevoked');
  assert.equal(used.length, 1, 'what has no effect marks no nonce in the database');
  const [logged] = await w.audit('certificate.revoked');
  assert.deepEqual(
    ['provenBy', 'peer', 'reason'].map(
      (name) => readCanonical(logged?.canonical as Buffer)?.detail[name],
    ),
    ['the account that ordered it', '192.0.2.1', 'superseded'],
  );
});

test('only reasons that an account may give are accepted', async () => {
  const { w, ask, isRevoked } = await world();
  await using _ = w;
  for (const reason of [2, 6, 7, 8, 10])
    assert.equal(await ask('a1', { reason }), 'badRevocationReason', String(reason));
  for (const reason of [-1, 11, 1.5])
    assert.equal(await ask('a1', { reason }), 'malformed', String(reason));
  assert.ok(!isRevoked());
});

test('another account revokes with a challenge that counts for every name, and with nothing less', async () => {
  for (const [why, over, wanted, answer] of [
    ['none', {}, [], 'unauthorized'],
    ['both names', {}, names, '200'],
    ['the wildcard alone', {}, ['*.shop.test'], 'unauthorized'],
    ['without the wildcard', {}, ['www.shop.test', 'shop.test'], 'unauthorized'],
    ['as an owner', { shownBy: 'owner' }, names, 'unauthorized'],
    ['deactivated', { status: 'deactivated' }, names, 'unauthorized'],
    ['revoked', { status: 'revoked' }, names, 'unauthorized'],
    ['pending', { status: 'pending' }, names, 'unauthorized'],
    ['failed', { status: 'invalid' }, names, 'unauthorized'],
    ['expired', { expiresAt: 1 }, names, 'unauthorized'],
  ] as const) {
    const { w, serial, shown, ask, isRevoked } = await world();
    await using _ = w;
    if (wanted.length > 0) shown(over, [...wanted]);
    assert.equal(await ask('a2', { reason: 1 }), answer, why);
    assert.equal(isRevoked(), answer === '200', why);
    if (answer === '200')
      assert.equal(w.store.revocations.revocation(serial)?.revokedBy, 'acme:a2');
  }
});

test('authorizations of several orders count together, until they or the EAB key have ended', async () => {
  const { w, eabKey, shown, ask } = await world();
  await using _ = w;
  shown({}, ['www.shop.test']);
  shown({}, ['*.shop.test']);
  eabKey.revokedAt = w.clock.now();
  assert.equal(await ask('a2'), 'unauthorized');
  eabKey.revokedAt = null;
  w.clock.advance(11_000);
  assert.equal(await ask('a2'), 'unauthorized');
  shown();
  assert.equal(await ask('a2'), '200');
});

test('what an account has shown counts while its tenant is active and has the names', async () => {
  for (const [why, owners] of [
    ['ended', [tenant('t1', 'shop.test', { state: 'ended' })]],
    ['deleted', []],
    ['of another tenant now', [tenant('t1', 'old.test'), tenant('t2', 'shop.test')]],
    ['of nobody now', [tenant('t1', 'old.test')]],
  ] as const) {
    const { w, tenants, shown, ask, isRevoked } = await world();
    await using _ = w;
    shown();
    tenants.now = new NameOwners(owners);
    assert.equal(await ask('a2'), 'unauthorized', why);
    assert.ok(!isRevoked(), why);
  }
});

test('an account with an ended EAB key still revokes what it ordered', async () => {
  const { w, eabKey, ask } = await world();
  await using _ = w;
  eabKey.revokedAt = w.clock.now();
  assert.equal(await ask('a1'), '200');
});

test('the key of a certificate revokes it as compromised whatever it states, and is blocked for ever', async () => {
  const { w, key, serial, ask, isRevoked } = await world();
  await using _ = w;
  assert.equal(await ask(newKey(), { reason: 1 }), 'unauthorized');
  assert.ok(!isRevoked());
  assert.equal(await ask(key, { reason: 4 }), '200');
  assert.equal(w.store.revocations.revocation(serial)?.reason, 'keyCompromise');
  assert.ok(w.store.blockedKeys.get(sha256Hex(spkiOf(key))) !== undefined);
  assert.equal(await ask(key), 'alreadyRevoked');
});

test('after a revocation by its account, the key of a certificate is blocked and raises the reason', async () => {
  const { w, key, serial, ask } = await world();
  await using _ = w;
  assert.equal(await ask('a1', { reason: 4 }), '200');
  const before = w.store.revocations.revocation(serial);
  w.clock.advance(60_000);
  assert.equal(await ask(key), '200');
  assert.ok(w.store.blockedKeys.get(sha256Hex(spkiOf(key))) !== undefined);
  const raised = w.store.revocations.revocation(serial);
  assert.deepEqual(raised, { ...before, reason: 'keyCompromise' }, 'the time stays');
  const [logged, ...more] = await w.audit('certificate.compromised');
  const { actor, detail } = readCanonical(logged?.canonical as Buffer) ?? {};
  assert.equal(actor, `key ${sha256Hex(spkiOf(key))}`);
  assert.deepEqual([detail?.['formerReason'], detail?.['revokedBy']], ['superseded', 'acme:a1']);
  assert.equal(more.length, 0);
  assert.equal(await ask(key), 'alreadyRevoked');
  assert.equal(await ask('a1', { reason: 1 }), 'alreadyRevoked');
  assert.equal((await w.audit('certificate.compromised')).length, 1);
});

test('altered bytes, and a certificate that is not of ACME, are like one of somebody else', async () => {
  const { w, key, certificateDer, ask, isRevoked } = await world();
  await using _ = w;
  const altered = Buffer.from(certificateDer);
  altered[altered.length - 1] = (altered.at(-1) as number) ^ 1;
  assert.equal(await ask('a1', { certificate: altered }), 'unauthorized');
  assert.equal(await ask(key, { certificate: altered }), 'unauthorized');
  const other = await createServicesWorld();
  await using __ = other;
  const { leaf } = await other.services.names.issue(local, {
    ...{ requestId: uuidv7(), dnsNames: names, ips: [], csrDer: createCsr(key), profile: '' },
    ttlSeconds: 0,
  });
  assert.equal(await ask('a1', { certificate: leaf.chainDer[0] as Buffer }), 'unauthorized');
  assert.equal(await ask(key, { certificate: leaf.chainDer[0] as Buffer }), 'unauthorized');
  const { svid, key: agentKey } = await w.joinAgent('n1');
  const agent = svid.leaf.chainDer[0] as Buffer;
  assert.equal(await ask('a1', { certificate: agent }), 'unauthorized');
  assert.equal(await ask(agentKey, { certificate: agent }), 'unauthorized');
  assert.equal(await ask('a1', { certificate: certificateDer.subarray(1) }), 'malformed');
  assert.equal(await ask('a1', { certificate: Buffer.alloc(0) }), 'malformed');
  assert.ok(!isRevoked());
});

test('bytes that somebody put into the row of a certificate give no account its revocation', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-bytes-'));
  const path = join(folder, 'meshca.db');
  try {
    const { w, serial, shown, ask, isRevoked } = await world({
      remains: { path, keys: new Map() },
    });
    await using _ = w;
    const { leaf } = await w.services.names.issue(local, {
      ...{ requestId: uuidv7(), dnsNames: ['own.shop.test'], ips: [], csrDer: createCsr(newKey()) },
      ...{ profile: 'classic', ttlSeconds: 0 },
    });
    shown({}, ['own.shop.test']);
    const announced: string[] = [];
    w.store.objects.onMismatch(({ id }) => announced.push(id));
    foreignSql(path, (database) =>
      database
        .prepare('UPDATE certificates SET certificate_der = ? WHERE hex(serial) = upper(?)')
        .run(leaf.chainDer[0] as Buffer, serial),
    );
    await nextTurn();
    assert.equal(await ask('a2'), 'unauthorized');
    await assert.rejects(ask('a1'), { code: 'OBJECT_NOT_IN_LOG' });
    assert.deepEqual(announced, [serial]);
    assert.ok(!isRevoked());
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('an operator who revokes a certificate of ACME learns how its renewal is refused', async () => {
  const { w, serial } = await world({ profile: 'short' });
  await using _ = w;
  const record = await w.store.certificates.bySerial(serial);
  assert.ok(record !== undefined);
  assert.match(unlistedNote({ ...record, holder: 'acme:a1' }), /end the account a1 or its EAB key/);
  assert.match(unlistedNote(record), /Nothing renews it/);
});

test('under noRevAvail it is revoked on record, and the log says that relying parties learn nothing', async () => {
  const { w, serial, ask } = await world({ profile: 'short' });
  await using _ = w;
  assert.equal(await ask('a1'), '200');
  assert.ok(w.store.revocations.revoked(serial));
  const [logged] = await w.audit('certificate.revoked');
  assert.match(
    String(readCanonical(logged?.canonical as Buffer)?.detail['relyingParties']),
    /noRevAvail/,
  );
});

import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import {
  createCsr,
  parseCertificate,
  sha256Hex,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readCanonical, type CertificateSelection } from '../../../../src/domain/index.ts';
import { InventoryProof } from '../../../../src/services/index.ts';
import type { AgentCaller } from '../../../../src/services/index.ts';
import { revokeAsKeyHolder } from '../../../../src/services/revoking/key-holder.ts';
import { Revoker } from '../../../../src/services/revoking/revoker.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { until } from '../../../support/until.ts';

interface Leaf {
  readonly serial: string;
  readonly chainDer: readonly Buffer[];
}

async function signed(
  w: ServicesWorld,
  caller: AgentCaller,
  { entryId, key = newKey() }: { readonly entryId: string; readonly key?: KeyObject },
): Promise<Leaf> {
  const [outcome] = await w.services.svids.signX509(caller, [
    {
      requestId: uuidv7(),
      entryId,
      csrDer: createCsr(key),
      ttlSeconds: 0,
      selectors: [],
      replacesSerial: '',
    },
  ]);
  assert.ok(outcome?.ok, outcome?.ok === false ? outcome.error.message : '');
  return outcome.leaf;
}

/** Two nodes with two entries each: one certificate an entry. */
async function mesh() {
  const w = await createServicesWorld({ revocable: true });
  const key = newKey();
  const [n1, n2] = [(await w.joinAgent('n1')).caller, (await w.joinAgent('n2')).caller];
  const leaves: Record<string, Leaf> = {};
  for (const [node, name, profile] of [
    [n1, 'a/web', 'revocable'],
    [n1, 'b/web', 'short-lived'],
    [n2, 'a/api', 'revocable'],
    [n2, 'ab/api', 'revocable'],
  ] as const) {
    const entryId = await w.addEntry({
      id: name.replace('/', '-'),
      spiffeId: id(`/${name}`),
      parentId: node.spiffeId,
      profile,
      dnsNames: [`${name.replace('/', '.')}.test`],
    });
    leaves[name] = await signed(w, node, name === 'a/web' ? { entryId, key } : { entryId });
  }
  const select = (selection: CertificateSelection, over: object = {}) =>
    w.services.selections.preview(local, { selection, reason: '', actId: '', ...over });
  const revoke = (selection: CertificateSelection, over: object = {}, signal?: AbortSignal) =>
    w.services.selections.revoke(
      local,
      { selection, reason: 'superseded', actId: '', ...over },
      signal,
    );
  const serialOf = (name: string): string => leaves[name]?.serial ?? '';
  const isRevoked = (name: string): boolean => w.store.revocations.revoked(serialOf(name));
  return { w, n1, n2, leaves, key, select, revoke, serialOf, isRevoked };
}

test('each criterion selects what it says, and several select what fits them all', async () => {
  const { w, n1, n2, key, select, serialOf } = await mesh();
  await using _ = w;
  const selected = async (selection: CertificateSelection): Promise<readonly string[]> =>
    (await select(selection)).sample.map(({ spiffeId }) => spiffeId.slice(id('/').length)).sort();
  const now = w.clock.now();
  const cases: readonly (readonly [CertificateSelection, readonly string[]])[] = [
    [{ spiffeId: id('/a/web') }, ['a/web']],
    [{ spiffeIdPrefix: id('/a/') }, ['a/api', 'a/web']],
    [{ dnsName: 'a.api.test' }, ['a/api']],
    [{ dnsName: 'api.test' }, []],
    [{ holder: n1.spiffeId }, ['a/web', 'b/web']],
    [{ entryId: 'b-web' }, ['b/web']],
    [{ delegationId: 'none' }, []],
    [{ publicKeySha256: sha256Hex(spkiOf(key)) }, ['a/web']],
    [{ authorityId: w.issuing.id }, ['a/api', 'a/web', 'ab/api', 'b/web']],
    [{ authorityId: 'another' }, []],
    [{ holder: n2.spiffeId, spiffeIdPrefix: id('/a/') }, ['a/api']],
    [{ holder: n2.spiffeId, issuedAfter: now + 1 }, []],
    [{ holder: n2.spiffeId, issuedAfter: now, issuedBefore: now }, ['a/api', 'ab/api']],
    [{ issuedBefore: now - 1 }, []],
  ];
  for (const [selection, expected] of cases)
    assert.deepEqual(await selected(selection), expected, JSON.stringify(selection));
  assert.ok(serialOf('a/web').length > 0);
});

test('a selection that means everything, or says it wrong, is refused', async () => {
  const { w, select } = await mesh();
  await using _ = w;
  for (const [selection, code] of [
    [{}, 'INVALID_REQUEST'],
    [{ spiffeIdPrefix: id('/a') }, 'INVALID_REQUEST'],
    [{ spiffeId: 'a' }, 'SPIFFE_ID_INVALID'],
    [{ dnsName: 'A_B' }, 'DNS_NAME_INVALID'],
    [{ publicKeySha256: 'ab' }, 'INVALID_REQUEST'],
    [{ issuedAfter: 9, issuedBefore: 8 }, 'INVALID_REQUEST'],
  ] as const)
    await assert.rejects(select(selection), { code }, JSON.stringify(selection));
});

test('an act revokes what its preview counted, once, and leaves a record of the whole', async () => {
  const { w, n1, select, revoke, isRevoked } = await mesh();
  await using _ = w;
  const plan = await select({ holder: n1.spiffeId });
  assert.deepEqual(
    [plan.matched, plan.revoked, plan.unlisted, plan.holders, plan.keysBlocked],
    [2, 2, 1, 1, 0],
  );
  assert.deepEqual([...plan.skipped.keys()], ['agent']);
  assert.match(plan.skipped.get('agent')?.next ?? '', /meshca agent ban/);
  assert.ok(!isRevoked('a/web'), 'a preview changes nothing');
  const { sample: _sample, ...done } = await revoke({ holder: n1.spiffeId });
  assert.deepEqual([done.revoked, done.alreadyRevoked, done.unlisted], [2, 0, 1]);
  assert.deepEqual(['a/web', 'b/web', 'a/api'].map(isRevoked), [true, true, false]);
  const again = await revoke({ holder: n1.spiffeId });
  assert.deepEqual([again.matched, again.revoked, again.alreadyRevoked], [2, 0, 2]);
  assert.equal((await w.audit('certificate.revoked')).length, 2);
  const acts = await w.audit('certificates.revoked');
  const detail = readCanonical(acts[0]?.canonical as Buffer)?.detail;
  assert.deepEqual(
    [detail?.['selection'], detail?.['reason'], detail?.['revoked'], detail?.['complete']],
    [[`holder=${n1.spiffeId}`], 'superseded', 2, true],
  );
});

test('an act that was interrupted says so in its record, and the next one does the rest', async () => {
  const { w, n2, revoke, isRevoked } = await mesh();
  await using _ = w;
  await assert.rejects(revoke({ holder: n2.spiffeId }, {}, AbortSignal.abort()), {
    code: 'CANCELLED',
  });
  assert.ok(!isRevoked('a/api'));
  const [act] = await w.audit('certificates.revoked');
  assert.equal(readCanonical(act?.canonical as Buffer)?.detail['complete'], false);
  assert.equal((await revoke({ holder: n2.spiffeId })).revoked, 2);
});

/** An act over a holder with one certificate, while the signer has another and waits. */
async function whileSigning(
  act: (during: {
    readonly w: ServicesWorld;
    readonly selection: CertificateSelection;
    readonly older: string;
    readonly answer: () => Promise<Leaf>;
  }) => Promise<void>,
): Promise<void> {
  await using w = await createServicesWorld({ revocable: true });
  const { caller } = await w.joinAgent('n1');
  const entryId = await w.addEntry({
    spiffeId: id('/web'),
    parentId: caller.spiffeId,
    profile: 'revocable',
    dnsNames: ['web.test'],
  });
  const older = (await signed(w, caller, { entryId })).serial;
  const [asked, answers] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  w.beforeSigning(() => {
    asked.resolve();
    return answers.promise;
  });
  const newer = signed(w, caller, { entryId });
  await asked.promise;
  const answer = (): Promise<Leaf> => {
    answers.resolve();
    return newer;
  };
  try {
    await act({ w, selection: { spiffeId: id('/web') }, older, answer });
  } finally {
    await answer();
  }
}

for (const dnsName of [undefined, 'web.test'])
  test(`an act${dnsName === undefined ? '' : ' by a DNS name'} also revokes what was being signed when it began, once`, () =>
    whileSigning(async ({ w, selection: all, older, answer }) => {
      const selection = dnsName === undefined ? all : { dnsName };
      const ask = { selection, reason: 'superseded', actId: '' };
      const plan = await w.services.selections.preview(local, ask);
      assert.equal(plan.matched, 1, 'a preview does not wait');
      const acting = w.services.selections.revoke(local, ask);
      // it has looked at both rows by then
      await until(() => w.store.revocations.revoked(older));
      const { serial } = await answer();
      const done = await acting;
      assert.deepEqual([done.matched, done.revoked, done.alreadyRevoked], [2, 2, 0]);
      assert.ok(w.store.revocations.revoked(serial));
    }));

test('what was being signed and does not fit the selection is left alone', () =>
  whileSigning(async ({ w, older, answer }) => {
    const other = { selection: { spiffeId: id('/other') }, reason: 'superseded', actId: '' };
    const acting = w.services.selections.revoke(local, other);
    const { serial } = await answer();
    assert.equal((await acting).matched, 0);
    assert.deepEqual(
      [older, serial].map((each) => w.store.revocations.revoked(each)),
      [false, false],
    );
  }));

test('an act that is interrupted while it waits for a signer says so in its record', () =>
  whileSigning(async ({ w, selection, older }) => {
    const interrupt = new AbortController();
    const ask = { selection, reason: 'superseded', actId: '' };
    const acting = w.services.selections.revoke(local, ask, interrupt.signal);
    const refused = assert.rejects(acting, { code: 'CANCELLED' });
    await until(() => w.store.revocations.revoked(older));
    interrupt.abort();
    await refused;
    const [act] = await w.audit('certificates.revoked');
    assert.equal(readCanonical(act?.canonical as Buffer)?.detail['complete'], false);
  }));

test('a compromise blocks the keys, unless the operator says no', async () => {
  const { w, n1, n2, key, revoke, leaves } = await mesh();
  await using _ = w;
  const isBlocked = (name: string): boolean => {
    const { spkiDer } = unwrap(parseCertificate(leaves[name]?.chainDer[0] as Buffer));
    return w.store.blockedKeys.get(sha256Hex(spkiDer)) !== undefined;
  };
  const kept = await revoke({ holder: n2.spiffeId }, { reason: 'keyCompromise', blockKeys: false });
  assert.deepEqual([kept.revoked, kept.keysBlocked, isBlocked('a/api')], [2, 0, false]);
  const done = await revoke({ entryId: 'a-web' }, { reason: 'keyCompromise' });
  assert.deepEqual([done.revoked, done.keys, done.keysBlocked], [1, 1, 1]);
  assert.ok(isBlocked('a/web'));
  await assert.rejects(signed(w, n1, { entryId: 'a-web', key }), /blocked/);
  await signed(w, n1, { entryId: 'a-web' });
  const one = await w.services.revocations.revoke(local, {
    serial: leaves['b/web']?.serial ?? '',
    reason: 'keyCompromise',
  });
  assert.ok(isBlocked('b/web'));
  assert.match(one.note, /relying parties learn nothing/);
});

test('a role revokes and blocks within its prefixes alone', async () => {
  const { w, select, key, isRevoked } = await mesh();
  await using _ = w;
  const alice = await w.mint('/people/alice', true);
  assert.equal(alice.class, 'admin');
  const as = alice as typeof alice & { readonly class: 'admin' };
  const role = (prefix: string) =>
    w.services.roles.put(local, {
      name: 'revoker',
      verbs: ['certificate.revoke', 'key.*'],
      prefixes: [id(prefix)],
      members: [alice.spiffeId],
    });
  const request = { selection: { authorityId: w.issuing.id }, reason: '', actId: '' };
  await assert.rejects(w.services.selections.revoke(as, request), { code: 'ROLE_MISSING' });
  await role('/a/');
  assert.equal((await select({ authorityId: w.issuing.id })).matched, 5, 'with the minted one');
  assert.equal((await w.services.selections.revoke(as, request)).revoked, 2);
  assert.deepEqual(['a/web', 'b/web'].map(isRevoked), [true, false]);
  const named = { publicKeySha256: sha256Hex(spkiOf(key)) };
  await role('/b/');
  await assert.rejects(w.services.keys.block(as, named, 'stolen'), { code: 'ROLE_MISSING' });
  await role('/a/');
  assert.equal((await w.services.keys.block(as, named, 'stolen')).certificates, 1);
  const unknown = { publicKeySha256: sha256Hex(spkiOf(newKey())) };
  await assert.rejects(w.services.keys.block(as, unknown, 'stolen'), { code: 'ROLE_MISSING' });
});

test('who proves the key of a certificate revokes it as compromised, and proves no other', async () => {
  const { w, key, leaves, isRevoked } = await mesh();
  await using _ = w;
  const { audit, blockedKeys, certificates, objects, revocations } = w.store;
  const { callers } = w.services;
  const revoker = new Revoker({
    ...{ revocations, blockedKeys, clock: w.clock },
    callers: callers as unknown as { announce: (ended: { readonly kind: 'recheck' }) => void },
    pulls: w.services.sync,
  });
  const dependencies = {
    ...{ certificates, revoker },
    inventory: new InventoryProof({
      ...{ audit, objects, clock: w.clock },
      facts: { holds: () => Promise.resolve(true) },
    }),
    authorities: { all: () => [w.issuing] },
  };
  const ask = (name: string, of: KeyObject) =>
    revokeAsKeyHolder(dependencies, {
      certificateDer: leaves[name]?.chainDer[0] as Buffer,
      serial: leaves[name]?.serial ?? '',
      provenSpkiDer: spkiOf(of),
      peer: '192.0.2.1',
    });
  await assert.rejects(ask('a/api', key), { code: 'NOT_FOUND' });
  await assert.rejects(ask('a/web', newKey()), { code: 'NOT_FOUND' });
  assert.ok(!isRevoked('a/web') && !isRevoked('a/api'));
  const { revocation } = await ask('a/web', key);
  assert.deepEqual(
    [revocation.reason, revocation.revokedBy],
    ['keyCompromise', `key ${sha256Hex(spkiOf(key))}`],
  );
  assert.ok(blockedKeys.get(sha256Hex(spkiOf(key))) !== undefined);
  assert.equal((await ask('a/web', key)).revocation.revokedAt, revocation.revokedAt);
});

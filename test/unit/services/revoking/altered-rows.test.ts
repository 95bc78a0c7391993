import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, sha256Hex } from '../../../../src/common/x509/index.ts';
import { intent, signed } from '../../../compliance/store/fixtures.ts';
import type { CertificateRecord, CertificateSelection } from '../../../../src/domain/index.ts';
import type { AdminCaller } from '../../../../src/services/index.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';

/** A revocable leaf in a database that others can write to. */
async function leafOf(
  w: ServicesWorld,
  { node = 'n1', path = '/web', name = 'web.test' } = {},
): Promise<string> {
  const { caller } = await w.joinAgent(node);
  const entryId = await w.addEntry({
    ...{ spiffeId: id(path), parentId: caller.spiffeId },
    profile: 'revocable',
    dnsNames: [name],
  });
  const csrDer = createCsr(newKey());
  const about = { ttlSeconds: 0, selectors: [], replacesSerial: '' };
  const [outcome] = await w.services.svids.signX509(caller, [
    { requestId: uuidv7(), entryId, csrDer, ...about },
  ]);
  assert.ok(outcome?.ok);
  return outcome.leaf.serial;
}

const alterations: readonly string[] = [
  `state = 'withheld', shard = 1`,
  `state = 'abandoned', shard = 1`,
  `state = 'intent', shard = 1`,
  `state = 'refused'`,
  `kind = 'authority', shard = 1`,
  `kind = 'authority', authority_id = 'another'`,
  `kind = 'authority', profile = 'downstream', not_after = not_after + 1`,
  `authority_id = 'another'`,
  `shard = shard + 1`,
  `public_key_sha256 = randomblob(32)`,
];

test('a row that was altered past the log decides nothing on a revocation', async (t) => {
  for (const alteration of alterations)
    await t.test(alteration, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-altered-'));
      const path = join(folder, 'meshca.db');
      try {
        await using w = await createServicesWorld({ revocable: true }, { path, keys: new Map() });
        const serial = await leafOf(w);
        const leaf = await w.store.certificates.bySerial(serial);
        const { authorityId: at, notAfter: end, shard: of } = leaf ?? {};
        const place = { authorityId: at, notAfter: end, shard: of };
        w.clock.advance(1_000_000);
        foreignSql(path, (database) =>
          database.exec(`UPDATE certificates SET ${alteration} WHERE spiffe_id = '${id('/web')}'`),
        );
        // reads of one turn share a snapshot
        await nextTurn();
        const announced: string[] = [];
        w.store.objects.onMismatch(({ kind, id }) => announced.push(`${kind} ${id}`));
        await assert.rejects(
          w.services.revocations.revoke(local, { serial, reason: 'superseded' }),
          (thrown) => PkiError.from(thrown).code === 'OBJECT_NOT_IN_LOG',
        );
        const done = await w.services.selections.revoke(local, {
          selection: { spiffeId: id('/web') },
          reason: 'superseded',
          actId: '',
        });
        // as the log has it
        assert.deepEqual([done.matched, done.revoked, done.altered], [1, 1, 1]);
        assert.deepEqual([...done.skipped.keys()], []);
        const { authorityId, notAfter, shard } = w.store.revocations.revocation(serial) ?? {};
        assert.deepEqual({ authorityId, notAfter, shard }, place);
        assert.deepEqual([...new Set(announced)], [`certificate ${serial}`]);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
});

const taken: readonly string[] = [
  'certificate_der = :der',
  'certificate_der = :der, sha256 = unhex(:sha256)',
  `certificate_der = :der, state = 'intent'`,
  `certificate_der = :der, sha256 = unhex(:sha256), state = 'withheld'`,
];

test('the bytes of a certificate of his give nobody a right over the row that he put them into', async (t) => {
  for (const change of taken)
    await t.test(change, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-bytes-'));
      const path = join(folder, 'meshca.db');
      try {
        await using w = await createServicesWorld({ revocable: true }, { path, keys: new Map() });
        const issue = async (name: string) => {
          const { leaf } = await w.services.names.issue(local, {
            ...{ requestId: uuidv7(), dnsNames: [name], ips: [], csrDer: createCsr(newKey()) },
            ...{ profile: 'classic', ttlSeconds: 0 },
          });
          return leaf;
        };
        const [own, victim] = [await issue('a.own.test'), await issue('a.victim.test')];
        const ada = (await w.mint('/ops/ada', true)) as AdminCaller;
        await w.services.roles.put(local, {
          ...{ name: 'own', verbs: ['*'], prefixes: ['dns:.own.test'], members: [ada.spiffeId] },
        });
        const { publicKeySha256 } = (await w.store.certificates.bySerial(
          victim.serial,
        )) as CertificateRecord;
        const der = own.chainDer[0] as Buffer;
        foreignSql(path, (database) => {
          const set = `UPDATE certificates SET ${change} WHERE hex(serial) = upper(:serial)`;
          database.prepare(set).run({
            ...{ ':der': der, ':serial': victim.serial },
            ...(change.includes(':sha256') ? { ':sha256': sha256Hex(der) } : {}),
          });
        });
        await nextTurn();
        const announced = new Set<string>();
        w.store.objects.onMismatch(({ id: serial }) => announced.add(serial));
        const { revocations, selections, keys } = w.services;
        const { serial } = victim;
        const refused = { code: 'OBJECT_NOT_IN_LOG' };
        await assert.rejects(revocations.revoke(ada, { serial, reason: 'superseded' }), refused);
        assert.ok(announced.delete(serial));
        await assert.rejects(keys.block(ada, { serial }, 'x'), refused);
        await assert.rejects(keys.get(ada, { serial }), refused);
        await assert.rejects(keys.block(ada, { publicKeySha256 }, 'x'), { code: 'ROLE_MISSING' });
        assert.deepEqual((await keys.get(ada, { publicKeySha256 })).sample, []);
        const selection = { authorityId: w.issuing.id };
        const done = await selections.revoke(ada, { selection, reason: 'superseded', actId: '' });
        assert.equal(done.revoked, 1);
        assert.ok(w.store.revocations.revoked(own.serial));
        assert.ok(!w.store.revocations.revoked(serial));
        assert.equal(w.store.blockedKeys.get(publicKeySha256), undefined);
        assert.deepEqual([...announced], [serial]);
        assert.ok((await keys.block(local, { publicKeySha256 }, 'x')).blocked !== undefined);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
});

const removed = 'the row is gone';

/** What somebody changes, so that a selection by this criterion passes over the row. */
const hidden: readonly (readonly [(leaf: CertificateRecord) => CertificateSelection, string])[] = [
  [({ spiffeId }) => ({ spiffeId }), `spiffe_id = 'spiffe://mesh.test/other'`],
  [
    ({ spiffeId }) => ({ spiffeIdPrefix: spiffeId.slice(0, -'leaf'.length) }),
    `spiffe_id = 'spiffe://mesh.test/other'`,
  ],
  [({ holder, spiffeId }) => ({ holder, spiffeId }), `holder = 'spiffe://mesh.test/other'`],
  [({ entryId }) => ({ entryId: entryId ?? '' }), `entry_id = 'other'`],
  [({ entryId }) => ({ entryId: entryId ?? '' }), `entry_id = NULL, delegation_id = 'other'`],
  [({ publicKeySha256 }) => ({ publicKeySha256 }), `public_key_sha256 = randomblob(32)`],
  [({ authorityId, spiffeId }) => ({ authorityId, spiffeId }), `authority_id = 'other'`],
  [
    ({ createdAtMs, spiffeId }) => ({ issuedBefore: Math.floor(createdAtMs / 1000), spiffeId }),
    `created_at_ms = created_at_ms + 100000`,
  ],
  [
    ({ spiffeId }) => ({ dnsName: `w${spiffeId.split('/').at(-2)}.shop.test` }),
    `certificate_der = zeroblob(600)`,
  ],
  [() => ({ tenant: 'shop' }), `spiffe_id = 'spiffe://mesh.test/other'`],
  [({ spiffeId }) => ({ spiffeId }), `not_after = 1`],
  [({ spiffeId }) => ({ spiffeId }), `state = 'refused'`],
  [({ spiffeId }) => ({ spiffeId }), `state = 'intent'`],
  [({ spiffeId }) => ({ spiffeId }), removed],
];

test('an act revokes what somebody hid from its selection past the log, and says so', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-hidden-'));
  const path = join(folder, 'meshca.db');
  try {
    await using w = await createServicesWorld({ revocable: true }, { path, keys: new Map() });
    const shop = {
      name: 'shop',
      description: '',
      dnsSuffixes: ['shop.test'],
      spiffePrefixes: [id('/web/')],
    };
    const quota = { quotaCertificates: 0, quotaSeconds: 0 };
    await w.services.tenants.create(local, { ...shop, ...quota }, { dryRun: false });
    const announced = new Set<string>();
    w.store.objects.onMismatch(({ id: serial }) => announced.add(serial));
    for (const [at, [selectionOf, change]] of hidden.entries()) {
      const name = `w${at}.shop.test`;
      const serial = await leafOf(w, { node: `n${at}`, path: `/web/${at}/leaf`, name });
      const leaf = await w.store.certificates.bySerial(serial);
      assert.ok(leaf);
      foreignSql(path, (database) =>
        database.exec(
          change === removed
            ? `DELETE FROM certificates WHERE hex(serial) = upper('${serial}')`
            : `UPDATE certificates SET ${change} WHERE hex(serial) = upper('${serial}')`,
        ),
      );
      foreignSql(path, (database) => database.exec('DELETE FROM certificate_names'));
      await nextTurn();
      const ask = { selection: selectionOf(leaf), reason: 'keyCompromise', actId: '' };
      assert.equal((await w.services.selections.estimate(local, ask)).revoked, 0, change);
      const plan = await w.services.selections.preview(local, ask);
      assert.deepEqual([plan.revoked, plan.altered, plan.keysBlocked], [1, 1, 1], change);
      assert.equal(w.store.revocations.revoked(serial), false, change);
      const done = await w.services.selections.revoke(local, ask);
      assert.deepEqual([done.revoked, done.altered, done.keysBlocked], [1, 1, 1], change);
      assert.ok(w.store.revocations.revoked(serial), change);
      assert.ok(w.store.blockedKeys.get(leaf.publicKeySha256), change);
      assert.ok(announced.has(serial), change);
      const again = await w.services.selections.revoke(local, ask);
      assert.deepEqual([again.revoked, again.altered], [0, 0], change);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a leaf that was recorded and not released is revoked as the log has it', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const ask = intent({
    authorityId: w.issuing.id,
    spiffeId: id('/web'),
    createdAtMs: w.clock.nowMs(),
    notAfter: w.clock.now() + 3_600,
  });
  await w.store.issuance.recordIntents([ask]);
  const item = signed(ask, [{ kind: 'delegation', id: 'none' }]);
  assert.ok(item.kind === 'signed');
  const sha256 = sha256Hex(item.certificateDer);
  const detail = { ...item.event.detail, sha256 };
  const [outcome] = await w.store.issuance.finish([
    { ...item, sha256, event: { ...item.event, detail } },
  ]);
  assert.equal(outcome?.state, 'withheld');
  const { revocation } = await w.services.revocations.revoke(local, {
    serial: ask.serial,
    reason: 'superseded',
  });
  assert.equal(revocation.authorityId, w.issuing.id);
});

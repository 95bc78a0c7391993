import assert from 'node:assert/strict';
import { test } from 'node:test';
import { revokedAtOnce, type RevocationReason, type StoredCrl } from '../../../src/domain/index.ts';
import {
  mayFinish,
  activeAuthority,
  event,
  intent,
  issued,
  signed,
  start,
  type OpenStore,
} from './fixtures.ts';

const revocation = (
  serial: string,
  reason: RevocationReason = 'keyCompromise',
  revokedAt = start,
) => ({ serial, reason, revokedAt, revokedBy: 'uid:0' });
const crl = (authorityId: string, number: number, fill = 1, shard = 0): StoredCrl => ({
  authorityId,
  shard,
  number,
  thisUpdate: start,
  nextUpdate: start + 100,
  der: Buffer.alloc(40, fill),
});

export function revocationCases(name: string, open: OpenStore): void {
  test(`${name}: a revocation is durable, moves the revision, is recorded once, and is never undone`, async () => {
    const { store } = await open();
    const authority = await activeAuthority(store);
    const certificate = await issued(store, authority.id, { notAfter: start + 3000 });
    const before = await store.meta.position();
    const made = await store.revocations.revoke(
      revocation(certificate.serial),
      event('certificate.revoked'),
    );
    assert.deepEqual(made, {
      ...revocation(certificate.serial),
      authorityId: authority.id,
      notAfter: start + 3000,
      shard: 0,
    });
    assert.ok((await store.meta.position()).revision > before.revision);
    assert.deepEqual(
      await store.revocations.revoke(
        revocation(certificate.serial, 'superseded', start + 5),
        event('certificate.revoked'),
      ),
      made,
    );
    assert.deepEqual(await store.revocations.bySerial(certificate.serial), made);
    assert.equal(
      (await store.audit.list({ kind: 'certificate.revoked' }, { size: 10 })).items.length,
      1,
    );
    assert.equal(await store.revocations.bySerial('ab'.repeat(16)), undefined);
    await assert.rejects(
      store.revocations.revoke(revocation('ab'.repeat(16)), event('certificate.revoked')),
      { code: 'NOT_FOUND' },
    );
    await store.close();
  });

  test(`${name}: a revocation has the place that the caller has proved, whatever became of the row`, async () => {
    const { store } = await open();
    const authority = await activeAuthority(store);
    const { serial } = await issued(store, authority.id, { shard: 7 });
    const place = { authorityId: authority.id, notAfter: start + 9, shard: 4 };
    const made = await store.revocations.revoke(
      { ...revocation(serial), place },
      event('certificate.revoked'),
    );
    assert.deepEqual(made, { ...revocation(serial), ...place });
    await store.close();
  });

  test(`${name}: a compromise raises the reason of a revocation, is recorded once, and nothing takes it back`, async () => {
    const { store, reopen } = await open();
    const authority = await activeAuthority(store);
    const { serial } = await issued(store, authority.id, { notAfter: start + 3000 });
    const revoke = (reason: RevocationReason, at: number) =>
      store.revocations.revoke(revocation(serial, reason, at), event('certificate.revoked'));
    const made = await revoke('superseded', start);
    const before = await store.meta.position();
    const raised = await revoke('keyCompromise', start + 5);
    assert.deepEqual(raised, { ...made, reason: 'keyCompromise' });
    assert.ok((await store.meta.position()).revision > before.revision);
    for (const reason of ['keyCompromise', 'unspecified', 'superseded'] as const)
      assert.deepEqual(await revoke(reason, start + 9), raised);
    const both = [revocation(serial, 'unspecified'), revocation(serial)];
    const { serial: other } = await issued(store, authority.id, { notAfter: start + 3000 });
    const [first, second] = await store.revocations.revokeMany(
      both.map((each) => ({
        revocation: { ...each, serial: other },
        event: event('certificate.revoked'),
      })),
    );
    assert.deepEqual([first?.reason, second?.reason], ['unspecified', 'keyCompromise']);
    const records = await store.audit.list({ kind: 'certificate.compromised' }, { size: 10 });
    assert.equal(records.items.length, 2);
    await store.close();
    const again = await reopen();
    const mismatches: string[] = [];
    again.store.objects.onMismatch(({ id }) => mismatches.push(id));
    await again.store.revocations.compareRows();
    assert.deepEqual(await again.store.revocations.bySerial(serial), raised);
    assert.deepEqual(mismatches, []);
    const scope = { authorityId: authority.id, shard: 0 };
    for (const from of [store, again.store]) assert.equal(from.revocations.mark(scope).length, 4);
    await again.store.close();
  });

  test(`${name}: revocations are told per shard in the order of their records, also after a start`, async () => {
    const { store, reopen } = await open();
    const authority = await activeAuthority(store);
    const leaf = async (shard: number): Promise<string> =>
      (await issued(store, authority.id, { notAfter: start + 3000, profile: 'revocable', shard }))
        .serial;
    const [one, two, three, four] = [await leaf(7), await leaf(9), await leaf(7), await leaf(0)];
    const order = (serial: string) => ({
      revocation: revocation(serial),
      event: event('certificate.revoked'),
    });
    const made = await store.revocations.revokeMany(
      [one, 'ab'.repeat(16), two, three, one].map(order),
    );
    assert.deepEqual(
      made.map((each) => each?.shard),
      [7, undefined, 9, 7, 7],
    );
    await store.revocations.revoke(revocation(four), event('certificate.revoked'));
    await assert.rejects(
      store.revocations.revokeMany(Array.from({ length: revokedAtOnce + 1 }, () => order(one))),
      { code: 'INVALID_REQUEST' },
    );
    const told = (from: typeof store, shard: number | 'all'): readonly string[] =>
      [...from.revocations.revokedOf(authority.id, shard)].map(({ serial }) => serial);
    const records = await store.audit.list({ kind: 'certificate.revoked' }, { size: 10 });
    assert.equal(records.items.length, 4);
    await store.close();
    const again = await reopen();
    for (const from of [store, again.store]) {
      assert.deepEqual(
        [told(from, 7), told(from, 9), told(from, 0)],
        [[one, three], [two], [four]],
      );
      assert.equal(from.revocations.mark({ authorityId: authority.id, shard: 'all' }).length, 4);
      const known = from.revocations.shards(authority.id);
      assert.deepEqual(
        known.map(({ shard, leaves, lastNotAfter }) => [shard, leaves, lastNotAfter]),
        [
          [7, 0, start + 3000],
          [9, 0, start + 3000],
        ],
      );
    }
    assert.deepEqual([...again.store.revocations.revokedOf('another', 'all')], []);
    await again.store.revocations.compareRows();
    await again.store.close();
  });

  test(`${name}: the CRLs of shards stand beside the complete one, and leave with their shard`, async () => {
    const { store, reopen } = await open();
    const { revocations } = store;
    await revocations.saveCrl(crl('a', 5), event('crl.signed', 'a'));
    for (const shard of [8, 7]) {
      const signing = event('crl.signed', 'a', { url: `http://x/${shard}`, revocations: shard });
      await revocations.saveCrl(crl('a', 1, shard, shard), signing);
    }
    assert.deepEqual(
      [await revocations.highestCrlNumber('a', 7), await revocations.highestCrlNumber('a', 0)],
      [1, 5],
    );
    await revocations.dropCrl({ authorityId: 'a', shard: 7 }, event('crl.removed', 'a'));
    const told = async (from: typeof store) => [
      (await from.revocations.crls()).map(({ shard, der }) => [shard, der[0]]),
      from.revocations.shards('a').map(({ shard, url }) => [shard, url]),
      [from.revocations.crlCovers('a', 8), from.revocations.crlCovers('a', 0)],
    ];
    const left = [
      [
        [0, 1],
        [8, 8],
      ],
      [[8, 'http://x/8']],
      [8, undefined],
    ];
    assert.deepEqual(await told(store), left);
    await store.close();
    const again = await reopen();
    assert.deepEqual(await told(again.store), left);
    await again.store.close();
  });

  test(`${name}: what a revoked caller asked for is withheld`, async () => {
    const { store } = await open();
    const authority = await activeAuthority(store);
    const caller = await issued(store, authority.id, { notAfter: start + 3000 });
    const asked = intent({ authorityId: authority.id });
    await store.issuance.recordIntents([asked]);
    await store.revocations.revoke(revocation(caller.serial), event('certificate.revoked'));
    const [outcome] = await store.issuance.finish([
      signed(asked, [mayFinish(authority.id), { kind: 'caller', serial: caller.serial }]),
    ]);
    assert.deepEqual(
      [outcome?.state, outcome?.state === 'withheld' && outcome.code],
      ['withheld', 'CERTIFICATE_REVOKED'],
    );
    await store.close();
  });

  test(`${name}: of each authority the newest CRL is kept, and its number only grows`, async () => {
    const { store } = await open();
    await store.revocations.saveCrl(crl('a', 5), event('crl.signed'));
    await store.revocations.saveCrl(crl('b', 1), event('crl.signed'));
    for (const number of [5, 4])
      await assert.rejects(store.revocations.saveCrl(crl('a', number), event('crl.signed')), {
        code: 'CONFLICT',
      });
    await store.revocations.saveCrl(crl('a', 6, 2), event('crl.signed'));
    assert.deepEqual(
      (await store.revocations.crls()).map(({ authorityId, number, der }) => [
        authorityId,
        number,
        der[0],
      ]),
      [
        ['a', 6, 2],
        ['b', 1, 1],
      ],
    );
    assert.deepEqual(
      [
        await store.revocations.highestCrlNumber('a', 0),
        await store.revocations.issuerCrlNumber('a'),
      ],
      [6, 0n],
    );
    await store.close();
  });

  test(`${name}: of CRLs from outside the number of their issuer is kept whole, however long, and only grows`, async () => {
    const { store, reopen } = await open();
    const imported = (crlNumber: string) => ({ ...event('crl.imported'), detail: { crlNumber } });
    const large = 2n ** 150n;
    await store.revocations.saveCrl(crl('a', 1), imported(String(large)));
    await store.revocations.saveCrl(crl('a', 2), imported('7'));
    assert.equal(await store.revocations.issuerCrlNumber('a'), large);
    const again = await reopen();
    assert.equal(await again.store.revocations.issuerCrlNumber('a'), large);
    await again.store.close();
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RevocationReason, StoredCrl } from '../../../src/domain/index.ts';
import type { RevokedMark } from '../../../src/ledger/index.ts';
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
const crl = (authorityId: string, number: number, fill = 1): StoredCrl => ({
  authorityId,
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

  test(`${name}: revocations are told per authority in the order of their records, once for each place`, async () => {
    const { store } = await open();
    const authority = await activeAuthority(store);
    const made: string[] = [];
    const revokeAnother = async (): Promise<void> => {
      const { serial } = await issued(store, authority.id, { notAfter: start + 3000 });
      await store.revocations.revoke(
        revocation(serial, 'keyCompromise', start + 9 - made.length),
        event('certificate.revoked'),
      );
      made.push(serial);
    };
    const since = (mark: RevokedMark | undefined) => {
      const { entries, ...rest } = store.revocations.since(authority.id, mark);
      return { serials: entries.map(({ serial }) => serial), ...rest };
    };
    await revokeAnother();
    await revokeAnother();
    const first = since(undefined);
    assert.deepEqual([first.serials, first.anew], [made, true]);
    assert.deepEqual(since(first.mark).serials, []);
    await revokeAnother();
    assert.deepEqual([since(first.mark).serials, since(first.mark).anew], [made.slice(2), false]);
    assert.deepEqual(since({ ...first.mark, of: {} }).serials, made, 'of another memory');
    assert.deepEqual(store.revocations.since('another', undefined).entries, []);
    await store.close();
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
      [await store.revocations.highestCrlNumber('a'), await store.revocations.issuerCrlNumber('a')],
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

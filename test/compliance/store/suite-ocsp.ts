import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OcspRecord } from '../../../src/domain/index.ts';
import type { OcspLeafRow, OcspPlace } from '../../../src/store/ports/index.ts';
import {
  activeAuthority,
  intent,
  issued,
  mayFinish,
  newSerial,
  signed,
  start,
  type OpenStore,
} from './fixtures.ts';

const answer = (changes: Partial<OcspRecord> = {}): OcspRecord => ({
  serial: newSerial(),
  signer: 3,
  form: 1,
  revoked: undefined,
  producedAt: start,
  thisUpdate: start - 300,
  nextUpdate: start + 400,
  dueAt: start + 200,
  notAfter: start + 3000,
  signatures: { sha1: Buffer.alloc(71, 1), sha256: Buffer.alloc(72, 2) },
  ...changes,
});

/** OCSP answers that were signed in advance. */
export function ocspCases(name: string, open: OpenStore): void {
  test(`${name}: an OCSP answer stays after a restart, and a later one takes its place`, async () => {
    const opened = await open();
    const first = answer();
    const revoked = answer({ revoked: { revokedAt: start, reason: 'keyCompromise' } });
    const before = await opened.store.meta.position();
    await opened.store.ocsp.put([first, revoked]);
    await using again = await opened.reopen();
    const { ocsp, meta } = again.store;
    assert.deepEqual(await meta.position(), before);
    assert.deepEqual(await ocsp.bySerial(first.serial), first);
    assert.equal(await ocsp.bySerial(newSerial()), undefined);
    assert.equal(await ocsp.bySerial('no hex'), undefined);
    const later = { ...first, revoked: { revokedAt: start + 9, reason: undefined }, signer: 4 };
    await ocsp.put([later]);
    assert.deepEqual(await ocsp.bySerials([revoked.serial, newSerial(), first.serial]), [
      revoked,
      undefined,
      later,
    ]);
    assert.equal(await ocsp.count(), 2);
    await ocsp.drop([first.serial, newSerial()]);
    assert.equal(await ocsp.bySerial(first.serial), undefined);
  });

  test(`${name}: OCSP answers are due in their order, and leave when their leaf has ended`, async () => {
    await using opened = await open();
    const { ocsp } = opened.store;
    assert.equal(await ocsp.earliest(), undefined);
    const answers = [30, 10, 20].map((seconds) =>
      answer({ dueAt: start + seconds, notAfter: start + 10 * seconds }),
    );
    await ocsp.put(answers);
    const [third, first, second] = answers;
    assert.deepEqual(await ocsp.earliest(), first);
    assert.deepEqual(await ocsp.due(start + 20, 10), [first, second]);
    assert.deepEqual(await ocsp.due(start + 99, 1), [first]);
    assert.equal(await ocsp.prune(start + 201, 1), 1);
    assert.equal(await ocsp.prune(start + 201, 10), 1);
    assert.deepEqual(await ocsp.due(start + 99, 10), [third]);
  });

  test(`${name}: many OCSP answers are counted in parts`, async () => {
    await using opened = await open();
    const { ocsp } = opened.store;
    const several = Array.from({ length: 20_003 }, (_, index) =>
      answer({
        serial: (2 ** 40 + index).toString(16).padStart(32, '0'),
        dueAt: start + (index % 3),
      }),
    );
    await ocsp.put(several.slice(0, 10_000));
    assert.equal(await ocsp.count(), 10_000);
    await ocsp.put(several.slice(10_000));
    assert.equal(await ocsp.count(), several.length);
  });

  test(`${name}: revocable leaves without an OCSP answer are found, page by page`, async () => {
    await using opened = await open();
    const { store } = opened;
    const authority = await activeAuthority(store);
    const classic = { profile: 'classic', kind: 'endpoint' } as const;
    const leaves = [];
    for (const notAfter of [start + 50, start + 40, start + 40, start - 1])
      leaves.push(await issued(store, authority.id, { ...classic, notAfter }));
    await issued(store, authority.id, { notAfter: start + 45 });
    const unsigned = intent({ ...classic, authorityId: authority.id, notAfter: start + 60 });
    await store.issuance.recordIntents([unsigned]);
    const [late, early, equal] = leaves;
    assert.ok(late !== undefined && early !== undefined && equal !== undefined);
    await store.ocsp.put([answer({ serial: early.serial })]);
    const of = { authorityId: authority.id, now: start, form: 1 };
    const found: OcspLeafRow[] = [];
    for (let after: OcspPlace | undefined; ; after = found.at(-1)) {
      const page = await store.ocsp.leaves(of, after, 1);
      if (page.length === 0) break;
      found.push(...page);
    }
    assert.deepEqual(
      found.map(({ serial, unanswered }) => [serial, unanswered === undefined]),
      [
        [early.serial, true],
        [equal.serial, false],
        [late.serial, false],
      ],
    );
    const [earliest, second] = found;
    const [anew] = await store.ocsp.leaves({ ...of, form: 2 }, undefined, 1);
    assert.ok(anew?.serial === earliest?.serial && anew?.unanswered !== undefined);
    const record = await store.certificates.bySerial(equal.serial);
    assert.deepEqual(second?.unanswered, record?.certificateDer);
    await store.issuance.finish([signed(unsigned, [mayFinish(authority.id)])]);
    assert.equal((await store.ocsp.leaves(of, found.at(-1), 10)).length, 1);
  });
}

import assert from 'node:assert/strict';
import { sign, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { assembleSigned, buildAuthorityTbs, newSerial } from '../../../../src/certs/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { parseCrl, spkiOf } from '../../../../src/common/x509/index.ts';
import { bufferOf, type CrlDraft } from '../../../../src/issuance/crl/book.ts';
import { openDeskInThread, startBookThread } from '../../../../src/issuance/crl/desk.ts';
import { CrlWorkshop, type CrlOrder } from '../../../../src/issuance/crl/workshop.ts';
import { Revoked } from '../../../../src/ledger/revoked.ts';

const now = 1_900_000_000;
const day = 86_400;
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signed = (tbsDer: Buffer): Buffer => sign('sha256', tbsDer, privateKey);
const issuerTbs = buildAuthorityTbs({
  serial: newSerial(now * 1000, systemRandom),
  profile: 'root',
  issuer: undefined,
  spkiDer: spkiOf(privateKey),
  trustDomain: TrustDomain.of('mesh.test'),
  notBefore: now - day,
  notAfter: now + 400 * day,
});
const issuerDer = assembleSigned(issuerTbs, 'ec-p256', signed(issuerTbs));

const serialOf = (index: number): string => `40${index.toString(16).padStart(30, '0')}`;

/** Records of revocations, as the log tells them. */
function revoke(revoked: Revoked, from: number, to: number, over: object = {}): void {
  for (let index = from; index < to; index += 1)
    revoked.apply({
      kind: 'revocation',
      id: serialOf(index),
      sha256: 'ab'.repeat(32),
      act: 'certificate.revoked',
      subject: 's',
      detail: {
        authority: 'a',
        reason: 'superseded',
        revokedAt: now - 5,
        revokedBy: 'uid:0',
        notAfter: now + day,
        ...over,
      },
    });
}

const draft = (over: Partial<CrlDraft> = {}): CrlDraft => ({
  id: 'a',
  issuerDer,
  number: 1,
  thisUpdate: now - 60,
  nextUpdate: now + day,
  distributionPoint: undefined,
  below: [],
  ...over,
});
const order = (over: Partial<CrlOrder> = {}): CrlOrder => ({
  draft: draft(),
  scope: { authorityId: 'a', shard: 'all' },
  endingFrom: now - day,
  ...over,
});

/** Turns of the loop until `work` has resolved: what runs in this thread lets none pass. */
async function turnsDuring<Made>(work: Promise<Made>): Promise<[Made, number]> {
  let turns = 0;
  let going = true;
  const turn = (): void => {
    turns += 1;
    if (going) setImmediate(turn);
  };
  setImmediate(turn);
  const made = await work;
  going = false;
  return [made, turns];
}

test('a CRL of 200,000 entries is built, checked and signed while the loop of the caller turns', async () => {
  const revoked = new Revoked();
  const total = 200_000;
  revoke(revoked, 0, total);
  const desk = openDeskInThread(startBookThread(), () => {});
  const parts = [...revoked.entries({ authorityId: 'a', shard: 'all' }, 0)];
  const [built, turns] = await turnsDuring(desk.ask({ kind: 'build', draft: draft(), parts }));
  assert.equal(built.entries, total);
  assert.ok(turns > 10, `${turns} turns while it was built`);
  const signature = signed(bufferOf(built.tbsDer));
  const [{ der }, finished] = await turnsDuring(
    desk.ask({ kind: 'finish', id: 'a', keyType: 'ec-p256', signature }),
  );
  assert.ok(finished > 10, `${finished} turns while it was read again`);
  assert.equal(unwrap(parseCrl(bufferOf(der))).revoked.size, total);
  await desk.close();
});

test('what was revoked goes to the builder a thousand a turn', async () => {
  const revoked = new Revoked();
  revoke(revoked, 0, 20_000);
  const workshop = new CrlWorkshop({ revocations: revoked });
  const [{ entries }, turns] = await turnsDuring(workshop.build(order()));
  assert.equal(entries, 20_000);
  assert.ok(turns >= 20, `${turns} turns`);
  await workshop.close();
});

test('a CRL is built of its scope alone, and an entry leaves when its certificate has ended', async () => {
  const revoked = new Revoked();
  const workshop = new CrlWorkshop({ revocations: revoked, inlineEntries: 2 });
  revoke(revoked, 0, 2, { shard: 7 });
  revoke(revoked, 2, 5, { shard: 8 });
  revoke(revoked, 5, 6, { authority: 'b', shard: 7 });
  const built = async (shard: number | 'all', endingFrom = now): Promise<number> =>
    (await workshop.build(order({ scope: { authorityId: 'a', shard }, endingFrom }))).entries;
  assert.deepEqual(
    [await built(7), await built(8), await built(9), await built('all')],
    [2, 3, 0, 5],
  );
  revoke(revoked, 6, 7, { shard: 8, notAfter: now - 1 });
  assert.deepEqual(
    [await built(8, now - 1), await built(8), await built(8, now + 2 * day)],
    [4, 3, 0],
  );
  await workshop.close();
});

test('a wrong signature, and what can not be built, are refused from the thread with their codes', async () => {
  const revoked = new Revoked();
  revoke(revoked, 0, 3);
  const workshop = new CrlWorkshop({ revocations: revoked, inlineEntries: 0 });
  await workshop.build(order());
  const finish = (): Promise<unknown> =>
    workshop.finish({
      id: 'a',
      keyType: 'ec-p256',
      signature: signed(Buffer.from('something else')),
    });
  await assert.rejects(finish(), { code: 'CRL_INVALID' });
  await assert.rejects(finish(), { code: 'INTERNAL' }, 'its draft is gone');
  await assert.rejects(workshop.build(order({ draft: draft({ nextUpdate: now - day }) })), {
    code: 'LINT_FAILED',
  });
  assert.equal((await workshop.build(order())).entries, 3);
  await workshop.close();
  await assert.rejects(workshop.build(order()), { code: 'SHUTTING_DOWN' });
});

test('a thread that ends rejects what waits for it, and is replaced', async () => {
  const draftOfNothing = {
    kind: 'build',
    draft: undefined as unknown as CrlDraft,
    parts: [],
  } as const;
  let ends = 0;
  const good = openDeskInThread(startBookThread(), () => (ends += 1));
  await assert.rejects(good.ask(draftOfNothing), { code: 'INTERNAL' });
  assert.equal(ends, 0, 'what a request threw is its answer');
  const asked = good.ask({ kind: 'build', draft: draft(), parts: [] });
  await Promise.all([assert.rejects(asked, { code: 'SHUTTING_DOWN' }), good.close()]);
  await assert.rejects(good.ask(draftOfNothing), { code: 'SHUTTING_DOWN' });
  assert.equal(ends, 0, 'it was asked to end');
  const script = `require('node:worker_threads').parentPort.once('message', () => process.exit(3))`;
  const bad = openDeskInThread(new Worker(script, { eval: true }), () => (ends += 1));
  await assert.rejects(bad.ask(draftOfNothing), { code: 'INTERNAL' });
  await assert.rejects(bad.ask(draftOfNothing), { code: 'INTERNAL' });
  assert.equal(ends, 1);
});

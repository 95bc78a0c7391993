import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import {
  createCsr,
  parseCertificate,
  sha256Hex,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import { parseCsr } from '../../../../src/certs/index.ts';
import type { LeafRequest } from '../../../../src/issuance/index.ts';
import { nextTurn, until } from '../../../support/until.ts';
import { root, issuing, requesterKey, world, request } from './leaf-support.ts';

test('an issued leaf verifies to the root, and was recorded before signing and before release', async () => {
  const w = world();
  const [result] = await w.issuer.issue([request()]);
  assert.ok(result?.ok);
  assert.deepEqual(w.log, ['intents', 'sign', 'finish']);
  const verified = verifyX509Svid({
    chainDer: result.leaf.chainDer,
    bundle: () => [root.authority.certificateDer as Buffer],
    now: systemClock.now(),
  });
  assert.ok(verified.ok, verified.ok ? '' : verified.error.message);
  assert.equal(verified.value.id.toString(), 'spiffe://mesh.test/web');
  assert.equal(w.intents[0]?.serial, verified.value.leaf.serialHex);
  assert.ok(verified.value.leaf.noRevAvail);
});

test('items of one call and of concurrent calls share commits, and refusals come per item in their place', async () => {
  const w = world();
  const bad = request({ csrDer: Buffer.concat([createCsr(requesterKey), Buffer.from([0])]) });
  const [mixed, other] = await Promise.all([
    w.issuer.issue([request(), bad, request({ ttlSeconds: 9 })]),
    w.issuer.issue([request()]),
  ]);
  assert.deepEqual(
    mixed?.map((result) => (result.ok ? 'ok' : result.error.code)),
    ['ok', 'CSR_MALFORMED', 'TTL_OUT_OF_RANGE'],
  );
  assert.ok(other?.[0]?.ok);
  assert.deepEqual(w.log, ['intents', 'sign', 'sign', 'finish']);
  assert.deepEqual(
    w.refusals.map((event) => event.detail['code']),
    ['CSR_MALFORMED', 'TTL_OUT_OF_RANGE'],
  );
});

test('a request that arrives again meanwhile shares the answer, beside refused ones', async () => {
  const w = world();
  const asked = request();
  const tooShort = request({ ttlSeconds: 9 });
  const [[first], again] = await Promise.all([
    w.issuer.issue([asked]),
    w.issuer.issue([tooShort, { ...asked }, { ...asked }]),
  ]);
  assert.ok(first?.ok);
  assert.equal(w.intents.length, 1);
  assert.deepEqual(
    again.map((result) => (result.ok ? result.leaf.serial : result.error.code)),
    ['TTL_OUT_OF_RANGE', first.leaf.serial, first.leaf.serial],
  );
});

test('a request whose ID the server made shares no answer with that of a caller', async () => {
  const w = world();
  const asked = request();
  const results = await Promise.all([
    w.issuer.issue([asked]),
    w.issuer.issue([{ ...asked, isNew: true }]),
  ]);
  const serials = results.map(([result]) => (result?.ok === true ? result.leaf.serial : undefined));
  assert.equal(w.intents.length, 2);
  assert.equal(new Set(serials).size, 2);
});

test('nothing is signed when the intent could not be recorded', async () => {
  const w = world();
  w.recordFails = true;
  const [result] = await w.issuer.issue([request()]);
  assert.equal(result?.ok, false);
  assert.deepEqual(w.log, []);
});

test('a batch whose caller has gone before its intents are durable is neither recorded nor signed', async () => {
  const w = world();
  const before = AbortSignal.abort();
  const [early] = await w.issuer.issue([request({ signal: before })]);
  assert.ok(early && !early.ok);
  assert.equal(early.error.code, 'CANCELLED');
  // while it waits for the commit that another call has begun
  const commit = Promise.withResolvers<void>();
  w.committing = commit.promise;
  const first = w.issuer.issue([request()]);
  await until(() => w.commits === 1, 'the commit of another call');
  const caller = new AbortController();
  const { signal } = caller;
  const batch = w.issuer.issue([request({ signal }), request({ signal })]);
  await nextTurn();
  caller.abort();
  commit.resolve();
  const codes = [await first, await batch].map((results) =>
    results.map((result) => (result.ok ? 'issued' : result.error.code)),
  );
  assert.deepEqual(codes, [['issued'], ['CANCELLED', 'CANCELLED']]);
  assert.equal(w.intents.length, 1);
  assert.deepEqual(w.log, ['intents', 'sign', 'finish']);
  assert.deepEqual(w.refusals, [], 'a call that its caller ended is no refusal');
});

test('a call whose caller goes after its intent is durable runs to its end', async () => {
  const w = world();
  const caller = new AbortController();
  w.outcome = (item) => {
    caller.abort();
    return { ok: true, signature: sign('sha256', item.bytes, issuing.key) };
  };
  const [result] = await w.issuer.issue([request({ signal: caller.signal })]);
  assert.ok(result?.ok);
  assert.deepEqual(w.log, ['intents', 'sign', 'finish']);
});

test('a withheld certificate is recorded and never released', async () => {
  const w = world();
  w.finish = () => ({ state: 'withheld', code: 'AGENT_BANNED', message: 'banned meanwhile' });
  const [result] = await w.issuer.issue([request()]);
  assert.ok(result && !result.ok);
  assert.equal(result.error.code, 'AGENT_BANNED');
  assert.equal(w.finished[0]?.kind, 'signed');
});

test('an item whose proof fails becomes a refusal on record, one that the token lost is abandoned', async () => {
  const w = world();
  let count = 0;
  w.outcome = () =>
    count++ === 0
      ? { ok: false, kind: 'refused', code: 'CSR_SIGNATURE_INVALID', message: 'bad proof' }
      : { ok: false, kind: 'failed', code: 'HSM_UNAVAILABLE', message: 'gone' };
  const results = await w.issuer.issue([request(), request()]);
  assert.deepEqual(
    results.map((result) => (result.ok ? 'ok' : result.error.code)),
    ['CSR_SIGNATURE_INVALID', 'HSM_UNAVAILABLE'],
  );
  assert.deepEqual(
    w.finished.map((item) => item.kind),
    ['refused', 'abandoned'],
  );
});

test('a refused proof gives the place in a shard back, a leaf that may be signed keeps it', async () => {
  const w = world();
  let count = 0;
  w.outcome = (item) => {
    count += 1;
    if (count === 1)
      return { ok: false, kind: 'refused', code: 'CSR_SIGNATURE_INVALID', message: 'bad proof' };
    if (count === 2) return { ok: false, kind: 'failed', code: 'HSM_UNAVAILABLE', message: 'gone' };
    return { ok: true, signature: sign('sha256', item.bytes, issuing.key) };
  };
  w.finish = () => ({ state: 'withheld', code: 'AGENT_BANNED', message: 'banned meanwhile' });
  const revocable = (): LeafRequest => request({ profile: 'revocable' });
  await w.issuer.issue([revocable(), revocable(), revocable()]);
  assert.deepEqual(w.givenBack, [5]);
  count = 0;
  await w.issuer.issue([request()]);
  assert.deepEqual(w.givenBack, [5], 'other profiles have no place');
});

test('a CSR that the caller has read is not read again', async () => {
  const w = world();
  const asked = request();
  const csr = unwrap(parseCsr(asked.csrDer));
  const [result] = await w.issuer.issue([{ ...asked, csrDer: Buffer.from('unread'), csr }]);
  assert.ok(result?.ok);
  assert.equal(w.intents[0]?.publicKeySha256, sha256Hex(csr.spkiDer));
});

test('refusals name what was wrong', async () => {
  const w = world();
  const code = async (over: Partial<LeafRequest>): Promise<string> => {
    const [result] = await w.issuer.issue([request(over)]);
    return result?.ok === false ? result.error.code : 'issued';
  };
  assert.equal(
    await code({ csrDer: createCsr(requesterKey, { uriSan: 'spiffe://mesh.test/somebody-else' }) }),
    'CSR_IDENTITY_MISMATCH',
  );
  assert.equal(
    await code({ csrDer: createCsr(requesterKey, { uriSan: 'spiffe://mesh.test/web' }) }),
    'issued',
  );
  assert.equal(await code({ csrDer: createCsr(issuing.key) }), 'KEY_RESERVED');
  assert.equal(await code({ keyTypes: ['rsa-2048'] }), 'KEY_UNSUPPORTED');
  assert.equal(await code({ ttlSeconds: 86_401 }), 'TTL_OUT_OF_RANGE');
  assert.equal(await code({ ttlSeconds: 1.5 }), 'TTL_OUT_OF_RANGE');
  assert.equal(await code({ ttlSeconds: 6 * 86_400, profile: 'revocable' }), 'ISSUER_LIFETIME');
  w.issuerAvailable = false;
  assert.equal(await code({}), 'NO_ISSUER');
  assert.equal(w.intents.length, 1);
});

test("a leaf stays within its issuer's life, and a revocable one has a CRL URL and no noRevAvail", async () => {
  const w = world();
  const [result] = await w.issuer.issue([
    request({ profile: 'revocable', ttlSeconds: 2 * 86_400 }),
  ]);
  assert.ok(result?.ok, result?.ok === false ? result.error.message : '');
  const leaf = unwrap(parseCertificate(result.leaf.chainDer[0] as Buffer));
  assert.equal(leaf.noRevAvail, false);
  assert.deepEqual(leaf.crlDistributionPoints, [
    `http://ca.mesh.test/crl/${issuing.authority.id}/5.crl`,
  ]);
  assert.ok(
    leaf.notAfter <= issuing.authority.notAfter && leaf.notBefore >= issuing.authority.notBefore,
  );
});

test('near the expiry of its issuer a default life is cut, on record, and after it nothing is signed', async () => {
  const end = issuing.authority.notAfter;
  const at = (seconds: number) => {
    const shifted: Clock = { ...systemClock, now: () => seconds, nowMs: () => seconds * 1000 };
    return world(shifted);
  };
  const near = at(end - 600);
  const [cut, refused, whole] = await near.issuer.issue([
    request({ endsWithIssuer: true }),
    request(),
    request({ endsWithIssuer: true, ttlSeconds: 600 }),
  ]);
  assert.ok(cut?.ok && whole?.ok && refused?.ok === false);
  assert.deepEqual([cut.leaf.notAfter, cut.leaf.lifetimeSeconds], [end, 600]);
  assert.equal(refused.error.code, 'ISSUER_LIFETIME');
  assert.deepEqual(
    near.finished.map((item) => {
      const detail = item.kind === 'signed' ? item.event.detail : {};
      return [detail['cutFromSeconds'], detail['cutToSeconds']];
    }),
    [
      [3_600, 600],
      [undefined, undefined],
    ],
  );
  for (const [left, expected] of [
    [1, 'issued'],
    [0, 'ISSUER_ENDED'],
    [-86_400, 'ISSUER_ENDED'],
  ] as const) {
    const w = at(end - left);
    const [result] = await w.issuer.issue([request({ endsWithIssuer: true })]);
    assert.equal(result?.ok === false ? result.error.code : 'issued', expected, `${left} s left`);
    assert.equal(w.intents.length, expected === 'issued' ? 1 : 0);
  }
});

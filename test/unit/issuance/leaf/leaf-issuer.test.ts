import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { factsOf } from '../../../../src/issuance/policy-request.ts';
import {
  systemClock,
  systemRandom,
  uuidv7,
  type Clock,
} from '../../../../src/common/runtime/index.ts';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  createCsr,
  derWriter,
  parseCertificate,
  sha256Hex,
  spkiOf,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import {
  assembleSigned,
  buildAuthorityTbs,
  newSerial,
  parseCsr,
} from '../../../../src/certs/index.ts';
import {
  firstEnded,
  linkerdName,
  linkerdServingName,
  linkerdSuffix,
  spiffeSubject,
  subjectText,
  type AuditEvent,
  type Authority,
  type CertificateRecord,
  type Intent,
  type NamesSubject,
} from '../../../../src/domain/index.ts';
import type { SignItem, SignOutcome } from '../../../../src/hsm/signing-port.ts';
import {
  builtInPolicy,
  createIssuer,
  createRecordedIssuance,
  type IssuancePolicy,
  type LeafRequest,
  type PipelineDependencies,
} from '../../../../src/issuance/index.ts';
import type { FinishItem, FinishOutcome } from '../../../../src/store/ports/index.ts';
import { statedCsr } from '../../../support/csr.ts';
import { nextTurn, until } from '../../../support/until.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';

const linkerd = { namespace: 'linkerd', trustDomain: 'cluster.local' } as const;
const trustDomain = TrustDomain.of('mesh.test');
const now = Math.floor(Date.now() / 1000);

function softwareAuthority(
  kind: 'root' | 'issuing',
  lifeSeconds: number,
  parent?: { key: ReturnType<typeof createPrivateKey>; authority: Authority },
) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spkiDer = spkiOf(privateKey);
  const tbs = buildAuthorityTbs({
    serial: newSerial(Date.now(), systemRandom),
    profile: kind === 'root' ? 'root' : 'intermediate',
    issuer: parent
      ? unwrap(parseCertificate(parent.authority.certificateDer as Buffer))
      : undefined,
    spkiDer,
    trustDomain,
    notBefore: now - 300,
    notAfter: now + lifeSeconds,
  });
  const certificateDer = assembleSigned(
    tbs,
    'ec-p256',
    sign('sha256', tbs, parent?.key ?? privateKey),
  );
  const authority: Authority = {
    id: uuidv7(),
    kind,
    state: 'active',
    version: 3,
    keyType: 'ec-p256',
    token: kind === 'root' ? 'root' : 'issuing',
    ckaId: `${kind}01`,
    parentId: parent?.authority.id ?? null,
    scope: {},
    spkiDer,
    certificateDer,
    subjectKeyId: unwrap(parseCertificate(certificateDer)).subjectKeyId ?? null,
    notBefore: now - 300,
    notAfter: now + lifeSeconds,
    createdAt: now,
    activatedAt: now,
    taintedAt: null,
  };
  return { key: privateKey, authority };
}

const root = softwareAuthority('root', 10 * 86_400);
const issuing = softwareAuthority('issuing', 5 * 86_400, root);
const requesterKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

interface World {
  readonly log: string[];
  readonly intents: Intent[];
  readonly finished: FinishItem[];
  readonly refusals: AuditEvent[];
  outcome: (item: SignItem) => SignOutcome;
  finish: (item: FinishItem) => FinishOutcome;
  recorded: CertificateRecord | undefined;
  decide: IssuancePolicy['decide'];
  recordFails: boolean;
  /** What a commit of intents waits for. */
  committing: Promise<void>;
  /** Commits of intents that have begun. */
  commits: number;
  readonly isBusy: boolean;
  issuerAvailable: boolean;
  issuerKind: 'issuing' | 'names-issuing';
  /** Shards of which a place was given back. */
  readonly givenBack: number[];
}

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function world(clock: Clock = systemClock): World & { issuer: ReturnType<typeof createIssuer> } {
  const state: World = {
    log: [],
    intents: [],
    finished: [],
    refusals: [],
    recorded: undefined,
    decide: passThroughPolicy.decide,
    recordFails: false,
    committing: Promise.resolve(),
    commits: 0,
    isBusy: true,
    issuerAvailable: true,
    issuerKind: 'issuing',
    givenBack: [],
    outcome: (item) => ({ ok: true, signature: sign('sha256', item.bytes, issuing.key) }),
    finish: () => ({ state: 'issued' }),
  };
  const recorded = createRecordedIssuance({
    quotas: { ends: () => [] },
    blockedKeys: { get: () => undefined },
    clock,
    store: {
      recordIntents: async (intents) => {
        state.commits += 1;
        await nextTurn();
        await state.committing;
        if (state.recordFails) throw new Error('disk full');
        state.log.push('intents');
        state.intents.push(...intents);
      },
      finish: async (items) => {
        await new Promise((resolve) => setImmediate(resolve));
        state.log.push('finish');
        state.finished.push(...items);
        return items.map((item) =>
          item.kind === 'signed' ? state.finish(item) : { state: item.kind },
        );
      },
    },
  });
  const dependencies: PipelineDependencies = {
    recorded,
    issuancePolicy: { decide: (request, caller) => state.decide(request, caller) },
    store: { findRequests: async (keys) => keys.map(() => state.recorded) },
    audit: { append: async (events) => void state.refusals.push(...events) },
    signers: {
      isBusy: () => state.isBusy,
      sign: async (items) => {
        state.log.push('sign');
        return items.map((item) => state.outcome(item));
      },
    },
    authorities: {
      chainDer: () => [issuing.authority.certificateDer as Buffer],
      issuerFor: () =>
        state.issuerAvailable
          ? {
              authority: { ...issuing.authority, kind: state.issuerKind },
              certificate: unwrap(parseCertificate(issuing.authority.certificateDer as Buffer)),
            }
          : undefined,
    },
    jwt: { issue: () => Promise.reject(new Error('not here')) },
    clock,
    options: {
      clock,
      random: systemRandom,
      leafBackdateSeconds: 30,
      minimumTtlSeconds: 10,
      assignShard: (id) => ({
        shard: 5,
        url: `http://ca.mesh.test/crl/${id}/5.crl`,
        isNew: true,
      }),
      giveBackShard: (_, shard) => void state.givenBack.push(shard),
      issuerUrl: (id) => `http://ca.mesh.test/crl/${id}.cer`,
      ocspUrl: (id) => `http://ca.mesh.test/ocsp/${id}`,
      reservedDnsNames: [
        'ca.mesh.test',
        linkerdServingName(linkerd),
        `*.${linkerdSuffix(linkerd)}`,
      ],
      isAuthorityKey: (digest) => digest === sha256Hex(issuing.authority.spkiDer as Buffer),
    },
    observe: { issued: () => {}, refused: () => {} },
  };
  return Object.assign(state, { issuer: createIssuer(dependencies) });
}

const request = (over: Partial<LeafRequest> = {}): LeafRequest => ({
  requestId: uuidv7(),
  csrDer: createCsr(requesterKey),
  subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/web')),
  kind: 'workload',
  profile: 'short-lived',
  ttlSeconds: 3600,
  caller: { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' },
  holder: 'spiffe://mesh.test/meshca/agent/n1',
  entryId: 'web',
  delegationId: null,
  replaces: null,
  rights: [],
  reason: { selectors: ['unix:uid:1'] },
  ...over,
});

test('an issued leaf verifies to the root, and was recorded before signing and before release', async () => {
  const w = world();
  const [result] = await w.issuer.issue([request()]);
  assert.ok(result?.ok);
  assert.deepEqual(w.log, ['intents', 'sign', 'finish']);
  const verified = verifyX509Svid({
    chainDer: result.leaf.chainDer,
    bundle: () => [root.authority.certificateDer as Buffer],
    now,
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

test('whoever shares the answer of a caller that goes still gets a certificate', async () => {
  const w = world();
  const shared = request();
  const caller = new AbortController();
  const first = w.issuer.issue([{ ...shared, signal: caller.signal }]);
  const second = w.issuer.issue([shared]);
  caller.abort();
  const [[one], [other]] = await Promise.all([first, second]);
  assert.ok(one?.ok && other?.ok && one.leaf.serial === other.leaf.serial);
  assert.equal(w.intents.length, 1);
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

test('the same request sent twice at once, in one call or in two, is signed once', async () => {
  const w = world();
  const twice = request();
  const results = (
    await Promise.all([w.issuer.issue([twice, twice]), w.issuer.issue([twice])])
  ).flat();
  assert.equal(w.intents.length, 1);
  assert.equal(
    new Set(results.map((result) => (result.ok ? result.leaf.serial : 'refused'))).size,
    1,
  );
});

test('a repeated request gets the recorded certificate, unless the record is of another identity', async () => {
  const first = world();
  const lost = request();
  const [answer] = await first.issuer.issue([lost]);
  assert.ok(answer?.ok);
  const intent = first.intents[0] as Intent;
  const record: CertificateRecord = {
    ...intent,
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: 'x',
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: answer.leaf.chainDer[0] as Buffer,
  };
  const again = world();
  again.recorded = record;
  const [repeated] = await again.issuer.issue([lost]);
  assert.ok(repeated?.ok && repeated.leaf.serial === answer.leaf.serial);
  assert.equal(again.intents.length, 0);
  const [other] = await again.issuer.issue([
    { ...lost, subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/other')) },
  ]);
  assert.ok(other?.ok && other.leaf.serial !== answer.leaf.serial);
  const [renamed] = await again.issuer.issue([
    { ...lost, subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/web'), ['db.mesh.test']) },
  ]);
  assert.ok(renamed?.ok && renamed.leaf.serial !== answer.leaf.serial, 'other DNS names');
  const [fresh] = await again.issuer.issue([{ ...lost, isNew: true }]);
  assert.ok(fresh?.ok && fresh.leaf.serial !== answer.leaf.serial, 'its ID was made for it');
  const [, found] = await again.issuer.issue([{ ...lost, requestId: uuidv7(), isNew: true }, lost]);
  assert.ok(found?.ok && found.leaf.serial === answer.leaf.serial, 'beside a new one as well');
});

test('a recorded certificate answers no request where its row was altered', async () => {
  const issuedFor = async (asked: LeafRequest): Promise<CertificateRecord> => {
    const w = world();
    const [answer] = await w.issuer.issue([asked]);
    assert.ok(answer?.ok);
    return {
      ...(w.intents[0] as Intent),
      ...{ sequence: 1, state: 'issued', stateReason: null, sha256: 'x', replacedBy: null },
      ...{ replacementConfirmedAt: null, certificateDer: answer.leaf.chainDer[0] as Buffer },
    };
  };
  const asked = request();
  const own = await issuedFor(asked);
  const der = own.certificateDer as Buffer;
  const ofAnotherKey = await issuedFor({ ...asked, csrDer: createCsr(otherKey) });
  const forged = Buffer.from(der);
  forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
  const altered: readonly Partial<CertificateRecord>[] = [
    { certificateDer: ofAnotherKey.certificateDer, serial: ofAnotherKey.serial },
    { certificateDer: (await issuedFor(request())).certificateDer },
    { certificateDer: forged },
    { notAfter: own.notAfter + 60 },
    { serial: ofAnotherKey.serial },
  ];
  const w = world();
  w.recorded = own;
  const [same] = await w.issuer.issue([asked]);
  assert.ok(same?.ok && same.leaf.serial === own.serial);
  for (const [index, change] of altered.entries()) {
    w.recorded = { ...own, ...change };
    const [result] = await w.issuer.issue([asked]);
    assert.ok(result?.ok && result.leaf.serial !== w.recorded.serial, `altered ${index}`);
    assert.equal(w.intents.length, index + 1);
  }
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

test('the policy decides each item for its caller, and what it denies is on record and not signed', async () => {
  const w = world();
  const asked: unknown[] = [];
  w.decide = (about, caller) => {
    asked.push([about.type === 'x509' && subjectText(about.subject), caller]);
    return about.type === 'x509' && about.ttlSeconds === 60
      ? { allowed: true, version: 4 }
      : { allowed: false, version: 4, reason: 'at most a minute' };
  };
  const [short, long] = await w.issuer.issue([request({ ttlSeconds: 60 }), request()]);
  const caller = { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' };
  assert.deepEqual(asked, [
    ['spiffe://mesh.test/web', caller],
    ['spiffe://mesh.test/web', caller],
  ]);
  assert.ok(short?.ok);
  assert.ok(long?.ok === false && long.error.code === 'POLICY_DENIED');
  assert.equal(w.refusals[0]?.detail['refusalId'], long.refusalId);
  assert.equal(w.refusals[0]?.detail['code'], 'POLICY_DENIED');
  assert.equal(w.intents.length, 1);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.deepEqual(end.rights.at(-1), { kind: 'policy', version: 4 });
});

test('the records of what a policy of operators decided have its version, rule and facts', async () => {
  const w = world();
  const detail = {
    policyVersion: 4,
    policyAt: 5,
    policyFacts: 'ab',
    policyRule: 'short',
    callerClass: 'agent',
    keyType: 'ec-p256',
  };
  const stated = (event: AuditEvent | undefined): object =>
    Object.fromEntries(
      Object.entries(event?.detail ?? {}).filter(
        ([key]) => key.startsWith('policy') || key === 'callerClass' || key === 'keyType',
      ),
    );
  w.decide = (about, caller) => {
    const basis = { facts: factsOf(about, caller, 5)!, factsSha256: 'ab', rule: 'short' };
    return about.type === 'x509' && about.ttlSeconds === 60
      ? { allowed: true, version: 4, basis }
      : { allowed: false, version: 4, basis, reason: 'at most a minute' };
  };
  await w.issuer.issue([request({ ttlSeconds: 60 }), request()]);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.deepEqual([stated(end.event), stated(w.refusals[0])], [detail, detail]);
});

test('a leaf whose policy changed while it was signed is withheld, and signed when it is asked for again', async () => {
  const w = world();
  const versions = { inForce: 4 };
  w.decide = () => ({ allowed: true, version: versions.inForce });
  w.outcome = ({ bytes }) => {
    versions.inForce = 5;
    return { ok: true, signature: sign('sha256', bytes, issuing.key) };
  };
  w.finish = (item) => {
    const policy = { version: versions.inForce };
    const ended =
      item.kind === 'signed'
        ? firstEnded(item.rights.slice(-1), () => policy as never, systemClock.now())
        : undefined;
    return ended === undefined
      ? { state: 'issued' }
      : { state: 'withheld', code: ended.code, message: ended.message };
  };
  const [changed] = await w.issuer.issue([request()]);
  assert.ok(changed?.ok === false);
  assert.equal(changed.error.code, 'POLICY_CHANGED');
  const [again] = await w.issuer.issue([request()]);
  assert.ok(again?.ok);
});

test('a recorded certificate is not given again to whom the policy denies it now', async () => {
  const first = world();
  const lost = request();
  const [answer] = await first.issuer.issue([lost]);
  assert.ok(answer?.ok);
  const again = world();
  again.recorded = {
    ...(first.intents[0] as Intent),
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: 'x',
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: answer.leaf.chainDer[0] as Buffer,
  };
  again.decide = () => ({ allowed: false, version: 1, reason: 'no more' });
  const [denied] = await again.issuer.issue([lost]);
  assert.ok(denied?.ok === false && denied.error.code === 'POLICY_DENIED');
});

const proxyName = linkerdName(linkerd, { namespace: 'emojivoto', serviceAccount: 'web' });
const proxyOf = (name: string): NamesSubject => ({ kind: 'names', dnsNames: [name], ips: [] });
const proxy = (over: Partial<LeafRequest> = {}): LeafRequest =>
  request({
    csrDer: statedCsr(requesterKey, { commonName: proxyName, dnsSans: [proxyName] }),
    subject: proxyOf(proxyName),
    kind: 'linkerd',
    profile: 'linkerd',
    entryId: null,
    keyTypes: ['ec-p256'],
    ...over,
  });

test('a proxy of Linkerd gets one DNS name and no URI, from the authorities of the mesh', async () => {
  const w = world();
  const asked: unknown[] = [];
  w.decide = (asking, caller) => {
    asked.push(asking.type === 'x509' ? [asking.kind, asking.profile] : []);
    return passThroughPolicy.decide(asking, caller);
  };
  const [result] = await w.issuer.issue([proxy()]);
  assert.ok(result?.ok);
  const leaf = unwrap(parseCertificate(result.leaf.chainDer[0] as Buffer));
  assert.deepEqual([leaf.dnsSans, leaf.uriSans, leaf.otherSanKinds], [[proxyName], [], []]);
  assert.deepEqual([...(leaf.keyUsage?.names ?? [])], ['digitalSignature']);
  assert.deepEqual(leaf.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.ok(leaf.noRevAvail && leaf.sanCritical);
  assert.deepEqual(asked, [['linkerd', 'linkerd']], 'the one policy was asked');
  const [intent] = w.intents;
  assert.deepEqual(
    [intent?.kind, intent?.profile, intent?.spiffeId],
    ['linkerd', 'linkerd', `dns:${proxyName}`],
  );
});

test('a proxy of Linkerd gets no other name, key or life, and nobody else gets its name', async () => {
  const w = world();
  const serving = linkerdServingName(linkerd);
  const foreign = 'web.emojivoto.serviceaccount.identity.linkerd.other.local';
  const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const web = SpiffeId.of('spiffe://mesh.test/web');
  const results = await w.issuer.issue([
    proxy({ csrDer: statedCsr(requesterKey, { dnsSans: [serving] }), subject: proxyOf(serving) }),
    proxy({ csrDer: createCsr(requesterKey), subject: proxyOf(foreign) }),
    proxy({ csrDer: createCsr(requesterKey), subject: proxyOf('ca.mesh.test') }),
    proxy({ csrDer: createCsr(rsa) }),
    proxy({ ttlSeconds: 86_401 }),
    proxy({ csrDer: statedCsr(requesterKey, { dnsSans: [proxyName, 'b.test'] }) }),
    request({ subject: spiffeSubject(web, [proxyName]) }),
    request({ subject: spiffeSubject(web, [serving]), kind: 'delegated' }),
    request({ subject: spiffeSubject(web, ['ca.mesh.test']) }),
  ]);
  assert.deepEqual(
    results.map((result) => (result.ok ? 'ok' : result.error.code)),
    [
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'KEY_UNSUPPORTED',
      'TTL_OUT_OF_RANGE',
      'CSR_IDENTITY_MISMATCH',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
    ],
  );
  assert.deepEqual(w.log, [], 'nothing was recorded or signed');
});

const shop: NamesSubject = {
  kind: 'names',
  dnsNames: ['www.shop.test', '*.shop.test'],
  ips: ['192.0.2.7', '2001:db8::7'],
};
const endpoint = (over: Partial<LeafRequest> = {}): LeafRequest =>
  request({
    subject: shop,
    kind: 'endpoint',
    profile: 'classic',
    ttlSeconds: 86_400,
    caller: { class: 'local', name: 'uid:0' },
    holder: 'uid:0',
    entryId: null,
    ...over,
  });

function namesWorld() {
  const w = world();
  w.issuerKind = 'names-issuing';
  return w;
}

test('an endpoint gets its names from an authority for names, by its profile', async () => {
  const w = namesWorld();
  w.decide = builtInPolicy(systemClock).decide;
  const results = await w.issuer.issue([
    endpoint({ csrDer: statedCsr(requesterKey, { commonName: 'www.shop.test' }) }),
    endpoint({ profile: 'short' }),
    endpoint({ profile: 'hours', ttlSeconds: 3600 }),
  ]);
  const leaves = results.map((result) => {
    assert.ok(result.ok, result.ok ? '' : result.error.message);
    return unwrap(parseCertificate(result.leaf.chainDer[0] as Buffer));
  });
  const { id } = issuing.authority;
  const issuerUrls = [`http://ca.mesh.test/crl/${id}.cer`];
  for (const leaf of leaves) {
    assert.deepEqual([leaf.dnsSans, leaf.ipSans, leaf.uriSans], [shop.dnsNames, shop.ips, []]);
    assert.deepEqual(leaf.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.deepEqual(leaf.issuerUrls, issuerUrls);
  }
  assert.deepEqual(
    leaves.map(({ noRevAvail, crlDistributionPoints, ocspUrls, sanCritical }) => [
      noRevAvail,
      crlDistributionPoints,
      ocspUrls,
      sanCritical,
    ]),
    [
      [false, [`http://ca.mesh.test/crl/${id}/5.crl`], [`http://ca.mesh.test/ocsp/${id}`], false],
      [true, [], [], true],
      [true, [], [], true],
    ],
  );
  assert.deepEqual(
    w.finished.map((item) => (item.kind === 'signed' ? item.event.detail['dnsNames'] : undefined)),
    leaves.map(() => shop.dnsNames),
    'the log has every name',
  );
});

test('the life of an endpoint is cut to the end of its issuer, on record', async () => {
  const w = namesWorld();
  const [result] = await w.issuer.issue([endpoint({ ttlSeconds: 30 * 86_400 })]);
  assert.ok(result?.ok);
  assert.equal(result.leaf.notAfter, issuing.authority.notAfter);
  const [finished] = w.finished;
  assert.ok(finished?.kind === 'signed');
  assert.equal(finished.event.detail['cutFromSeconds'], 30 * 86_400);
});

test('a request for names that may not be is refused, and nothing is signed for it', async () => {
  const w = namesWorld();
  const ofNames = (over: Partial<NamesSubject>): LeafRequest =>
    endpoint({ subject: { ...shop, ...over } });
  const mustStaple = derWriter.sequence(
    derWriter.oid('1.3.6.1.5.5.7.1.24'),
    derWriter.octetString(derWriter.sequence(derWriter.integer(5))),
  );
  const many = Array.from({ length: 101 }, (_, index) => `n${index}.shop.test`);
  const results = await w.issuer.issue([
    endpoint({ csrDer: statedCsr(requesterKey, { extensions: [mustStaple] }) }),
    ofNames({ dnsNames: ['ca.mesh.test'] }),
    ofNames({ dnsNames: ['*.mesh.test'] }),
    ofNames({ dnsNames: [proxyName] }),
    ofNames({ dnsNames: many }),
    ofNames({ dnsNames: ['*.test'] }),
    endpoint({ csrDer: statedCsr(requesterKey, { dnsSans: ['other.test'] }) }),
    endpoint({ profile: 'short', ttlSeconds: 6 * 86_400 + 1 }),
    endpoint({ profile: 'classic', ttlSeconds: 90 * 86_400 + 1 }),
    endpoint({ profile: 'hours', ttlSeconds: 86_401 }),
    request(),
  ]);
  assert.deepEqual(
    results.map((result) => (result.ok ? 'ok' : result.error.code)),
    [
      'CSR_EXTENSION_REFUSED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'LINT_FAILED',
      'LINT_FAILED',
      'CSR_IDENTITY_MISMATCH',
      'TTL_OUT_OF_RANGE',
      'TTL_OUT_OF_RANGE',
      'TTL_OUT_OF_RANGE',
      'NO_ISSUER',
    ],
  );
  assert.deepEqual(w.log, [], 'nothing was recorded or signed');
});

test('an authority of the mesh signs no names of endpoints', async () => {
  const w = world();
  const [result] = await w.issuer.issue([endpoint()]);
  assert.ok(result?.ok === false && result.error.code === 'NO_ISSUER');
  assert.deepEqual(w.log, []);
});

test('a repeated request gets the recorded certificate for the same names alone', async () => {
  const w = namesWorld();
  const asked = endpoint();
  const [first] = await w.issuer.issue([asked]);
  assert.ok(first?.ok);
  w.recorded = {
    ...(w.intents[0] as Intent),
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: null,
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: first.leaf.chainDer[0] as Buffer,
  };
  const [again, fewer] = await w.issuer.issue([
    asked,
    { ...asked, subject: { ...shop, dnsNames: ['www.shop.test'] } },
  ]);
  assert.ok(again?.ok && fewer?.ok);
  assert.equal(again.leaf.serial, first.leaf.serial);
  assert.notEqual(fewer.leaf.serial, first.leaf.serial);
});

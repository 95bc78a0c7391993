import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import {
  buildAuthorityTbs,
  buildLeafTbs,
  assembleSigned,
  newSerial,
} from '../../../src/certs/index.ts';
import { fail, PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { systemClock, systemRandom } from '../../../src/common/runtime/index.ts';
import { SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  generateKeyPairAsync,
  parseCertificate,
  sha256Hex,
  spkiOf,
} from '../../../src/common/x509/index.ts';
import {
  spiffeSubject,
  type BlockedKey,
  type CertificateKind,
  type Intent,
  type Subject,
} from '../../../src/domain/index.ts';
import type { SignItem, SignOutcome } from '../../../src/hsm/signing-port.ts';
import {
  admit,
  createRecordedIssuance,
  type Admission,
  signerOf,
  type CertificateDraft,
  type PreparedCertificate,
  type RecordedIssuance,
} from '../../../src/issuance/index.ts';
import type { FinishItem, FinishOutcome } from '../../../src/store/ports/index.ts';
import { until } from '../../support/until.ts';
import { passThroughPolicy } from '../../support/pass-through-policy.ts';

const now = systemClock.now();
const issuingKey = (await generateKeyPairAsync('ec-p256')).privateKey;
const leafSpki = spkiOf((await generateKeyPairAsync('ec-p256')).privateKey);
const rootTbs = buildAuthorityTbs({
  serial: newSerial(now * 1000, systemRandom),
  profile: 'root',
  issuer: undefined,
  spkiDer: spkiOf(issuingKey),
  trustDomain: TrustDomain.of('mesh.test'),
  notBefore: now - 300,
  notAfter: now + 86_400,
});
const issuer = unwrap(
  parseCertificate(assembleSigned(rootTbs, 'ec-p256', sign('sha256', rootTbs, issuingKey))),
);

const web = spiffeSubject(SpiffeId.of('spiffe://mesh.test/web'));
const admitted = (kind: CertificateKind, subject: Subject): Admission =>
  unwrap(
    admit(
      passThroughPolicy,
      {
        type: 'x509',
        kind,
        subject,
        profile: 'short-lived',
        keyType: 'ec-p256',
        ttlSeconds: 3600,
        entryId: 'web',
        delegationId: null,
      },
      { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' },
    ),
  );

function draft(over: Partial<CertificateDraft> = {}): CertificateDraft {
  const expected = {
    serial: newSerial(now * 1000, systemRandom),
    issuer,
    spkiDer: leafSpki,
    subject: web,
    notBefore: now - 30,
    notAfter: now + 3600,
  };
  return {
    tbsDer: buildLeafTbs({ ...expected, profile: 'short-lived' }),
    profile: 'short-lived',
    expected,
    admission: admitted('workload', web),
    signer: signerOf({ id: 'a1', ckaId: '01', keyType: 'ec-p256' }),
    record: {
      kind: 'workload',
      profile: 'short-lived',
      entryId: 'web',
      delegationId: null,
      requester: 'spiffe://mesh.test/meshca/agent/n1',
      holder: 'spiffe://mesh.test/meshca/agent/n1',
      publicKeySha256: sha256Hex(leafSpki),
      requestId: 'r1',
      replaces: null,
    },
    rights: [{ kind: 'entry', id: 'web', revision: 3 }],
    shard: 0,
    issuedAs: {
      kind: 'certificate.issued',
      subject: 'spiffe://mesh.test/web',
      detail: { node: 1 },
    },
    ...over,
  };
}

interface World {
  readonly log: string[];
  readonly intents: Intent[];
  /** The number of intents in each commit. */
  readonly commits: number[];
  readonly finished: FinishItem[];
  finish: (item: FinishItem) => FinishOutcome;
  storeFails: boolean;
  readonly blocked: Map<string, BlockedKey>;
  readonly issuance: RecordedIssuance;
}

function world(): World {
  const state: Omit<World, 'issuance'> = {
    log: [],
    intents: [],
    commits: [],
    finished: [],
    finish: (item) => ({ state: item.kind === 'signed' ? 'issued' : item.kind }),
    storeFails: false,
    blocked: new Map(),
  };
  const issuance = createRecordedIssuance({
    quotas: { ends: () => [] },
    blockedKeys: { get: (publicKeySha256) => state.blocked.get(publicKeySha256) },
    clock: systemClock,
    store: {
      recordIntents: async (items) => {
        await new Promise((resolve) => setImmediate(resolve));
        if (state.storeFails) throw new PkiError('STORE_FAILED', 'disk full');
        state.log.push('intents');
        state.intents.push(...items);
        state.commits.push(items.length);
      },
      finish: async (items) => {
        await new Promise((resolve) => setImmediate(resolve));
        state.log.push('finish');
        state.finished.push(...items);
        return items.map((item) => state.finish(item));
      },
    },
  });
  return Object.assign(state, { issuance });
}

const signs = async (items: readonly SignItem[]): Promise<readonly SignOutcome[]> =>
  items.map(({ bytes }) => ({ ok: true, signature: sign('sha256', bytes, issuingKey) }));
const prepared = (w: World, over: Partial<CertificateDraft> = {}): PreparedCertificate =>
  unwrap(w.issuance.prepare(draft(over)));

test('the intent is durable before the token signs, and the end before anything is released', async () => {
  const w = world();
  const item = prepared(w);
  const [outcome] = await w.issuance.run([item], {
    sign: (items) => {
      w.log.push('sign');
      return signs(items);
    },
  });
  assert.deepEqual(w.log, ['intents', 'sign', 'finish']);
  assert.ok(outcome?.ok);
  const certificate = unwrap(parseCertificate(outcome.certificateDer));
  assert.equal(certificate.serialHex, w.intents[0]?.serial);
  assert.equal(item.intent.serial, certificate.serialHex);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.deepEqual(
    [end.event.kind, end.event.detail['serial'], end.event.detail['node']],
    ['certificate.issued', certificate.serialHex, 1],
  );
  assert.deepEqual(end.rights, [
    { kind: 'authority', id: 'a1', states: ['active', 'old'] },
    { kind: 'key', publicKeySha256: sha256Hex(leafSpki) },
    { kind: 'entry', id: 'web', revision: 3 },
    { kind: 'policy', version: 0 },
  ]);
});

test('a certificate for a blocked key is refused before anything is recorded', () => {
  const w = world();
  const publicKeySha256 = sha256Hex(leafSpki);
  const blocked = { publicKeySha256, reason: 'stolen', blockedAt: 1, blockedBy: 'uid:0' };
  w.blocked.set(publicKeySha256, blocked);
  const refused = w.issuance.prepare(draft());
  assert.ok(!refused.ok && refused.error.code === 'KEY_BLOCKED');
  w.blocked.clear();
  assert.equal(w.issuance.prepare(draft()).ok, true);
  assert.deepEqual(w.intents, []);
});

test('bytes that say something else than the record are refused before anything is recorded', () => {
  const w = world();
  const right = draft();
  for (const wrong of [
    { notAfter: right.expected.notAfter + 1 },
    { serial: newSerial(now * 1000, systemRandom) },
    { spkiDer: spkiOf(issuingKey) },
  ]) {
    const result = w.issuance.prepare({ ...right, expected: { ...right.expected, ...wrong } });
    assert.equal(result.ok ? 'prepared' : result.error.code, 'LINT_FAILED');
  }
});

test('nothing is prepared that the policy was not asked about', () => {
  const w = world();
  const right = draft();
  const other = spiffeSubject(SpiffeId.of('spiffe://mesh.test/other'));
  for (const admission of [
    admitted('workload', other),
    admitted('workload', spiffeSubject(web.id, ['web.mesh.test'])),
    admitted('admin', web),
    { request: right.admission.request, version: 0 } as Admission,
  ])
    assert.throws(() => w.issuance.prepare({ ...right, admission }), { code: 'INTERNAL' });
});

test('a prepared certificate is signed once, and only by the issuance that made it', async () => {
  const w = world();
  const item = prepared(w);
  const rejects = (value: PreparedCertificate, issuance = w.issuance) =>
    assert.rejects(issuance.run([value], { sign: signs }), { code: 'INTERNAL' });
  await rejects(item, world().issuance);
  await rejects({ intent: item.intent } as unknown as PreparedCertificate);
  await rejects(Object.create(item) as PreparedCertificate);
  assert.deepEqual(w.log, []);
  assert.ok((await w.issuance.run([item], { sign: signs }))[0]?.ok);
  await rejects(item);
  const twice = prepared(w);
  await assert.rejects(w.issuance.run([twice, twice], { sign: signs }), { code: 'INTERNAL' });
  assert.equal(w.intents.length, 1);
});

test('a signature that failed, or whose outcome is unknown, leaves an abandoned record at once', async () => {
  const unknown: readonly (() => Promise<readonly SignOutcome[]>)[] = [
    () => Promise.reject(new PkiError('HSM_UNAVAILABLE', 'no answer in time')),
    () => Promise.resolve([]),
    () =>
      Promise.resolve([
        { ok: false, kind: 'failed', code: 'HSM_UNAVAILABLE', message: 'gone' } as const,
      ]),
  ];
  for (const answer of unknown) {
    const w = world();
    const [outcome] = await w.issuance.run([prepared(w)], { sign: answer });
    assert.equal(outcome?.ok === false && outcome.error.code, 'HSM_UNAVAILABLE');
    const [end] = w.finished;
    assert.ok(end?.kind === 'abandoned' && end.reason === 'HSM_UNAVAILABLE');
    assert.equal(end.serial, w.intents[0]?.serial);
    assert.equal(end.event.kind, 'certificate.abandoned');
  }
});

test('a key or proof that the signer refuses leaves a refusal on record', async () => {
  const w = world();
  const [outcome] = await w.issuance.run([prepared(w)], {
    sign: async () => [
      { ok: false, kind: 'refused', code: 'CSR_SIGNATURE_INVALID', message: 'bad proof' },
    ],
  });
  assert.ok(outcome?.ok === false && outcome.error.code === 'CSR_SIGNATURE_INVALID');
  const [end] = w.finished;
  assert.ok(end?.kind === 'refused');
  assert.equal(end.event.detail['refusalId'], outcome.refusalId);
});

test('a certificate that does not pass the check after signing is abandoned', async () => {
  const w = world();
  const item = prepared(w, { verify: () => fail('CHAIN_UNTRUSTED', 'not signed by the issuer') });
  const [outcome] = await w.issuance.run([item], { sign: signs });
  assert.equal(outcome?.ok === false && outcome.error.code, 'CHAIN_UNTRUSTED');
  assert.equal(w.finished[0]?.kind, 'abandoned');
});

test('a certificate whose right ended meanwhile stays on record and is not released', async () => {
  const w = world();
  w.finish = () => ({ state: 'withheld', code: 'AGENT_BANNED', message: 'banned' });
  const [outcome] = await w.issuance.run([prepared(w)], { sign: signs });
  assert.ok(outcome?.ok === false && outcome.error.code === 'AGENT_BANNED');
  assert.equal(outcome.error.detail['withheld'], true);
  assert.equal(w.finished[0]?.kind, 'signed');
});

test('nothing is signed when the intents can not be recorded', async () => {
  const w = world();
  w.storeFails = true;
  let signed = 0;
  await assert.rejects(
    w.issuance.run([prepared(w)], {
      sign: (items) => {
        signed += items.length;
        return signs(items);
      },
    }),
    { code: 'STORE_FAILED' },
  );
  assert.equal(signed, 0);
});

test('concurrent calls share their commits, and each gets its own outcomes', async () => {
  const w = world();
  const [one, two] = await Promise.all([
    w.issuance.run([prepared(w)], { sign: signs }),
    w.issuance.run([prepared(w), prepared(w)], { sign: signs }),
  ]);
  assert.deepEqual([one?.length, two?.length], [1, 2]);
  assert.deepEqual(w.log, ['intents', 'finish']);
});

test('calls that come at once go in several groups, of which one is committed while another is signed', async () => {
  const w = world();
  const steps: string[] = [];
  const token = Promise.withResolvers<void>();
  const calls = Array.from({ length: 20 }, (_, index) =>
    w.issuance.run([prepared(w)], {
      sign: async (items) => {
        if (index === 0) await token.promise;
        return signs(items);
      },
      step: (step) => steps.push(`${index} ${step}`),
    }),
  );
  await until(() => steps.includes('19 recorded'));
  assert.equal(steps.includes('0 signed'), false, 'the first is still at its signer');
  token.resolve();
  const outcomes = await Promise.all(calls);
  assert.ok(outcomes.flat().every(({ ok }) => ok));
  assert.equal(w.commits[0], 10, 'half of them');
  assert.ok(w.commits.length < 6, `few commits of intents: ${w.commits.join(', ')}`);
});

test('a lone certificate goes at once, whatever else was signed before', async () => {
  const w = world();
  for (let index = 0; index < 3; index += 1) {
    const [outcome] = await w.issuance.run([prepared(w)], { sign: signs });
    assert.ok(outcome?.ok);
  }
  const failing = await w.issuance.run([prepared(w)], {
    sign: () => Promise.reject(new PkiError('HSM_UNAVAILABLE', 'gone')),
  });
  assert.equal(failing[0]?.ok, false);
  const [after] = await w.issuance.run([prepared(w)], { sign: signs });
  assert.ok(after?.ok, 'failed signatures do not count as under way');
});

test('a large call goes in slices, and its outcomes are in the order of its items', async () => {
  const w = world();
  const items = Array.from({ length: 300 }, () => prepared(w));
  const serials = items.map(({ intent }) => intent.serial);
  const outcomes = await w.issuance.run(items, { sign: signs });
  assert.deepEqual(w.commits, [100, 100, 100]);
  assert.deepEqual(
    outcomes.map((outcome) =>
      outcome.ok ? unwrap(parseCertificate(outcome.certificateDer)).serialHex : outcome.error.code,
    ),
    serials,
  );
});

test('where the store fails for a part of a large call, the items of that part alone fail', async () => {
  const w = world();
  const items = Array.from({ length: 300 }, () => prepared(w));
  const outcomes = await w.issuance.run(items, {
    sign: (each) => {
      w.storeFails = true;
      return signs(each);
    },
  });
  const issued = outcomes.filter(({ ok }) => ok);
  assert.equal(issued.length, w.finished.length);
  assert.deepEqual(
    outcomes.map(({ ok }) => ok),
    items.map((_, index) => index < issued.length),
  );
  assert.ok(issued.length > 0 && issued.length < 300, `${issued.length}`);
  const errors = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error]));
  assert.ok(errors.every(({ code }) => code === 'STORE_FAILED'));
  assert.equal(new Set(errors).size, errors.length, 'an error for each item');
  await assert.rejects(
    w.issuance.run(
      Array.from({ length: 300 }, () => prepared(w)),
      { sign: signs },
    ),
    {
      code: 'STORE_FAILED',
    },
  );
});

test('a large call whose caller goes runs to its end if a part of it has begun, else nothing is recorded', async () => {
  const w = world();
  let wanted = true;
  const items = (): PreparedCertificate[] => Array.from({ length: 300 }, () => prepared(w));
  const begun = await w.issuance.run(items(), {
    sign: (each) => {
      wanted = false;
      return signs(each);
    },
    wanted: () => wanted,
  });
  assert.ok(begun.every(({ ok }) => ok));
  await assert.rejects(w.issuance.run(items(), { sign: signs, wanted: () => wanted }), {
    code: 'CANCELLED',
  });
  assert.equal(w.intents.length, 300);
});

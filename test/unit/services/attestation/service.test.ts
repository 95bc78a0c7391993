import assert from 'node:assert/strict';
import { createHash, sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { attestationMessage } from '../../../../src/common/wire/index.ts';
import { certificatesToPem, createCsr, spkiOf } from '../../../../src/common/x509/index.ts';
import type {
  AgentCaller,
  AgentSvid,
  AttestExchange,
  AttestStart,
  AttestStep,
} from '../../../../src/services/index.ts';
import { holderOf } from '../../../../src/services/attestation/limits.ts';
import { createIntermediate, createRoot, createSvid } from '../../../support/test-pki.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  newKey,
  trustDomain,
  type NodeAttestation,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
const serverHash = createHash('sha256').update('server').digest();
const open = (w: ServicesWorld): AttestExchange =>
  w.services.attestation.open({ peer: '192.0.2.7:9', serverCertificateSha256: serverHash });
const start = (
  evidence: AttestStart['evidence'],
  key: KeyObject,
  requestId = uuidv7(),
): AttestStart => ({
  protocolVersion: 1,
  agentVersion: '1.0',
  requestId,
  csrDer: createCsr(key),
  evidence,
});
const node = (type: string, payload: Buffer): AttestStart['evidence'] => ({
  kind: 'node',
  type,
  payload,
});
const byToken = (token: string): AttestStart['evidence'] => node('join_token', Buffer.from(token));
const byChain = (chainDer: readonly Buffer[]): AttestStart['evidence'] =>
  node('x509pop', Buffer.concat(chainDer));
const svidOf = (step: AttestStep): AgentSvid => {
  assert.equal(step.kind, 'svid');
  return (step as Extract<AttestStep, { kind: 'svid' }>).svid;
};
const join = async (
  w: ServicesWorld,
  token: string,
  key: KeyObject,
  requestId = uuidv7(),
): Promise<AgentSvid> => svidOf(await open(w).start(start(byToken(token), key, requestId)));
const tokenFor = async (w: ServicesWorld, agentName: string, ttlSeconds = 0): Promise<string> =>
  (await w.services.tokens.create(local, { agentName, ttlSeconds, nodeSelectors: [] })).token;

function answer(
  step: AttestStep,
  provingKey: KeyObject,
  newKeyOf: KeyObject,
  change: Partial<Parameters<typeof attestationMessage>[0]> = {},
): Buffer {
  assert.equal(step.kind, 'challenge');
  const challenge = step as Extract<AttestStep, { kind: 'challenge' }>;
  return sign(
    'sha256',
    attestationMessage({
      nonce: challenge.nonce,
      trustDomainName: challenge.trustDomainName,
      serverCertificateSha256: challenge.serverCertificateSha256,
      newSpkiDer: spkiOf(newKeyOf),
      ...change,
    }),
    provingKey,
  );
}

test('a join token is one use: the same key gets the same answer, another key gets none', async () => {
  await using w = await createServicesWorld();
  const token = await tokenFor(w, 'n1');
  assert.ok(Buffer.from(token, 'base64url').length >= 16);
  const key = newKey();
  const first = await join(w, token, key);
  assert.equal(first.leaf.spiffeId, agentId('n1'));
  assert.equal(
    (await join(w, token, key)).leaf.serial,
    first.leaf.serial,
    'another request ID, an answer that was lost',
  );
  assert.equal((await w.store.agents.byId(agentId('n1')))?.generation, 1);
  await assert.rejects(join(w, token, newKey()), rejectsWith('JOIN_TOKEN_INVALID'));
  assert.ok(
    (await w.audit('request.refused')).some((record) => record.actor === agentId('n1')),
    'a token used with two keys is on record',
  );
  const stored = JSON.stringify([
    ...(await w.store.tokens.list({ size: 10 })).items,
    ...(await w.audit()).map(({ canonical }) => canonical.toString()),
  ]);
  assert.ok(!stored.includes(token), 'the token is nowhere but in the first answer');
});

test('two attestations at once with one token end with one session', async () => {
  await using w = await createServicesWorld();
  const token = await tokenFor(w, 'n1');
  const key = newKey();
  const answers = await Promise.allSettled([
    join(w, token, key),
    join(w, token, key),
    join(w, token, newKey()),
  ]);
  const serials = new Set(
    answers.flatMap((each) => (each.status === 'fulfilled' ? [each.value.leaf.serial] : [])),
  );
  assert.equal(serials.size, 1);
  assert.equal((await w.store.agents.byId(agentId('n1')))?.generation, 1);
});

test('a token is worth nothing when expired, unknown, after its session moved on, or after an eviction', async () => {
  await using w = await createServicesWorld();
  const token = await tokenFor(w, 'n1', 60);
  const key = newKey();
  const { leaf } = await join(w, token, key);
  const caller = (await w.callerOf(leaf)) as AgentCaller;
  await w.services.attestation.renew(caller, {
    requestId: uuidv7(),
    csrDer: createCsr(newKey()),
    agentVersion: '1',
  });
  await assert.rejects(
    join(w, token, key),
    rejectsWith('JOIN_TOKEN_INVALID'),
    'it must not supersede what was renewed',
  );
  const second = await tokenFor(w, 'n2');
  await join(w, second, key);
  await w.services.agents.evict(local, agentId('n2'), '');
  await assert.rejects(join(w, second, key), rejectsWith('JOIN_TOKEN_INVALID'));
  await join(w, await tokenFor(w, 'n2'), key);
  const third = await tokenFor(w, 'n3', 10);
  w.clock.advance(11_000);
  await assert.rejects(join(w, third, key), rejectsWith('JOIN_TOKEN_INVALID'));
  for (const text of ['', 'x', 'x'.repeat(300)])
    await assert.rejects(join(w, text, key), rejectsWith('JOIN_TOKEN_INVALID'));
});

test('a banned agent can neither join, renew nor recover, and an evicted one only join anew', async () => {
  await using w = await createServicesWorld();
  const { caller, key, svid } = await w.joinAgent('n1');
  const recover = async (): Promise<AttestStep> => {
    const exchange = open(w);
    const fresh = newKey();
    const step = await exchange.start(
      start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial }, fresh),
    );
    return exchange.answer(answer(step, key, fresh));
  };
  await w.services.agents.ban(local, agentId('n1'), 'stolen');
  await assert.rejects(join(w, await tokenFor(w, 'n1'), newKey()), rejectsWith('AGENT_BANNED'));
  await assert.rejects(
    w.services.attestation.renew(caller, {
      requestId: uuidv7(),
      csrDer: createCsr(newKey()),
      agentVersion: '1',
    }),
    rejectsWith('AGENT_BANNED'),
  );
  await assert.rejects(recover(), rejectsWith('AGENT_BANNED'));
  await w.services.agents.evict(local, agentId('n1'), '');
  await assert.rejects(recover(), rejectsWith('AGENT_EVICTED'));
  await join(w, await tokenFor(w, 'n1'), newKey());
});

test('a ban while the SVID of the agent is being signed leaves nothing released and no session', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  w.beforeSigning(async () => void (await w.services.agents.ban(local, agentId('n1'), 'now')));
  await assert.rejects(
    w.services.attestation.renew(caller, {
      requestId: uuidv7(),
      csrDer: createCsr(newKey()),
      agentVersion: '1',
    }),
    rejectsWith('AGENT_BANNED'),
  );
  assert.equal(
    (await w.store.certificates.list({ state: 'withheld' }, 'created', { size: 5 })).items.length,
    1,
  );
});

test('an expired agent comes back by its last key within the grace, and its earlier session ends', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 60, recoveryGraceSeconds: 600 });
  const { key, svid } = await w.joinAgent('n1');
  w.clock.advance(120_000);
  const fresh = newKey();
  const exchange = open(w);
  const step = await exchange.start(
    start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial }, fresh),
  );
  const back = svidOf(await exchange.answer(answer(step, key, fresh)));
  assert.equal(((await w.callerOf(back.leaf)) as AgentCaller).generation, 2);
  const lost = open(w);
  const repeated = await lost.start(
    start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial }, fresh),
  );
  await lost.answer(answer(repeated, key, fresh));
  await w.services.sync.open(
    (await w.callerOf(back.leaf)) as AgentCaller,
    {
      protocolVersion: 1,
      agentVersion: '1',
      capabilities: [],
      position: undefined,
      bundleSequence: 1,
      survivedOutageSeconds: 0,
    },
    { send: () => true, close: () => {} },
  );
  const again = open(w);
  const old = await again.start(
    start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial }, fresh),
  );
  await assert.rejects(
    again.answer(answer(old, key, fresh)),
    rejectsWith('AGENT_SUPERSEDED'),
    'a later SVID is in use',
  );
  w.clock.advance(700_000);
  const late = open(w);
  const third = newKey();
  const challenge = await late.start(
    start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: back.leaf.serial }, third),
  );
  await assert.rejects(
    late.answer(answer(challenge, fresh, third)),
    rejectsWith('RENEWAL_GRACE_EXCEEDED'),
  );
  assert.equal((await join(w, await tokenFor(w, 'n1'), third)).leaf.spiffeId, agentId('n1'));
});

test('an answer proves one nonce, trust domain, server certificate and new key, once and in time', async () => {
  await using w = await createServicesWorld();
  const { key, svid } = await w.joinAgent('n1');
  const fresh = newKey();
  const begin = async (): Promise<{ exchange: AttestExchange; step: AttestStep }> => {
    const exchange = open(w);
    return {
      exchange,
      step: await exchange.start(
        start({ kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial }, fresh),
      ),
    };
  };
  for (const change of [
    { nonce: Buffer.alloc(32) },
    { trustDomainName: 'other.test' },
    { serverCertificateSha256: Buffer.alloc(32) },
    { newSpkiDer: spkiOf(newKey()) },
  ]) {
    const { exchange, step } = await begin();
    await assert.rejects(
      exchange.answer(answer(step, key, fresh, change)),
      rejectsWith('ATTESTATION_FAILED'),
    );
    await assert.rejects(
      exchange.answer(answer(step, key, fresh)),
      rejectsWith('INVALID_REQUEST'),
      'the second try',
    );
  }
  const { exchange: other, step: stolen } = await begin();
  await assert.rejects(
    other.answer(answer(stolen, newKey(), fresh)),
    rejectsWith('ATTESTATION_FAILED'),
  );
  const { exchange, step } = await begin();
  w.clock.advance(31_000);
  await assert.rejects(
    exchange.answer(answer(step, key, fresh)),
    rejectsWith('ATTESTATION_FAILED'),
  );
  await assert.rejects(open(w).answer(Buffer.alloc(8)), rejectsWith('INVALID_REQUEST'));
});

test('nothing is said of an agent to whoever does not hold its key', async () => {
  await using w = await createServicesWorld();
  const { svid } = await w.joinAgent('n1');
  await w.services.agents.ban(local, agentId('n1'), '');
  for (const name of ['n1', 'unknown']) {
    const exchange = open(w);
    const fresh = newKey();
    const step = await exchange.start(
      start({ kind: 'expired-svid', spiffeId: agentId(name), serial: svid.leaf.serial }, fresh),
    );
    await assert.rejects(
      exchange.answer(answer(step, fresh, fresh)),
      rejectsWith('ATTESTATION_FAILED'),
    );
  }
  await assert.rejects(
    open(w).start(
      start({ kind: 'expired-svid', spiffeId: id('/web'), serial: svid.leaf.serial }, newKey()),
    ),
    rejectsWith('ATTESTATION_FAILED'),
  );
});

/** x509pop with this CA. */
const nodesUnder = (rootDer: Buffer): NodeAttestation => ({
  configuration: { x509pop: { caFile: 'nodes.pem' } },
  files: { 'nodes.pem': certificatesToPem([rootDer]) },
});

test('x509pop: a node below a configured CA gets the ID of its fingerprint, and selectors', async () => {
  const root = createRoot('nodes.test', { subject: 'nodes' });
  const intermediate = createIntermediate(root, 'nodes.test');
  const rack = createSvid(intermediate, 'spiffe://nodes.test/rack/1', {
    subject: 'rack-1',
    dnsSans: ['rack1.nodes.test'],
  });
  await using w = await createServicesWorld({}, undefined, nodesUnder(root.certificateDer));
  const fresh = newKey();
  const exchange = open(w);
  const step = await exchange.start(start(byChain(rack.chainDer), fresh));
  const svid = svidOf(await exchange.answer(answer(step, rack.privateKey, fresh)));
  const fingerprint = createHash('sha256')
    .update(rack.chainDer[0] as Buffer)
    .digest('hex');
  assert.equal(svid.leaf.spiffeId, `${trustDomain.id}/meshca/agent/x509pop/${fingerprint}`);
  const texts =
    (await w.store.agents.byId(svid.leaf.spiffeId))?.selectors.map(({ value }) => value) ?? [];
  assert.ok(
    texts.includes('subject:cn:rack-1') && texts.includes('san:dns:rack1.nodes.test'),
    texts.join(),
  );
  assert.equal(texts.filter((text) => text.startsWith('ca:fingerprint:')).length, 2);
});

test('x509pop refuses foreign, expired, CA and server-only certificates, and a proof by another key', async () => {
  const root = createRoot('nodes.test');
  await using w = await createServicesWorld({}, undefined, nodesUnder(root.certificateDer));
  const chains = [
    createSvid(createRoot('nodes.test'), 'spiffe://nodes.test/x').chainDer,
    createSvid(root, 'spiffe://nodes.test/x', { notBeforeIn: -100, notAfterIn: -10 }).chainDer,
    createSvid(root, 'spiffe://nodes.test/x', { notBeforeIn: 100 }).chainDer,
    createSvid(root, 'spiffe://nodes.test/x', { isCa: true, keyUsage: ['keyCertSign'] }).chainDer,
    createSvid(root, 'spiffe://nodes.test/x', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }).chainDer,
    createSvid(root, 'spiffe://nodes.test/x', { keyUsage: ['keyAgreement'] }).chainDer,
    [],
    [Buffer.from('x')],
  ];
  for (const chainDer of chains)
    await assert.rejects(
      open(w).start(start(byChain(chainDer), newKey())),
      rejectsWith('ATTESTATION_FAILED'),
    );
  const rack = createSvid(root, 'spiffe://nodes.test/x');
  const exchange = open(w);
  const fresh = newKey();
  const step = await exchange.start(start(byChain(rack.chainDer), fresh));
  await assert.rejects(
    exchange.answer(answer(step, fresh, fresh)),
    rejectsWith('ATTESTATION_FAILED'),
  );
  await using off = await createServicesWorld();
  await assert.rejects(
    open(off).start(start(byChain(rack.chainDer), newKey())),
    rejectsWith('ATTESTATION_FAILED'),
  );
});

test('attestations and pending challenges are limited, and refusals of strangers cost no commit', async () => {
  await using w = await createServicesWorld({
    attestationRate: { perSecond: 1, burst: 40 },
    maximumPendingChallenges: 2,
  });
  const before = await w.store.audit.count();
  const challenge = () =>
    open(w).start(start({ kind: 'expired-svid', spiffeId: agentId('x'), serial: 'aa' }, newKey()));
  await challenge();
  await challenge();
  await assert.rejects(challenge(), rejectsWith('OVERLOADED'));
  w.clock.advance(30_000);
  const held = open(w);
  await held.start(start({ kind: 'expired-svid', spiffeId: agentId('x'), serial: 'aa' }, newKey()));
  held.close();
  await challenge();
  for (let call = 0; call < 30; call += 1) await join(w, 'guess', newKey()).catch(() => {});
  assert.throws(() => {
    for (let call = 0; call < 50; call += 1) open(w);
  }, rejectsWith('RATE_LIMITED'));
  assert.equal(await w.store.audit.count(), before);
  await w.services.refusals.flush();
  assert.equal(await w.store.audit.count(), before + 1);
  const [summary] = await w.audit('requests.refused');
  const counts = (
    JSON.parse((summary?.canonical.toString() ?? '').split('\n')[1] as string) as {
      detail: { counts: string[] };
    }
  ).detail.counts;
  assert.ok(counts.includes('anonymous Attest JOIN_TOKEN_INVALID 30'), counts.join('; '));
});

test('agent names and selectors of tokens are checked, and selectors need rights over the trust domain', async () => {
  await using w = await createServicesWorld();
  for (const agentName of ['', 'a/b', '..', 'x509pop', 'a b', 'x'.repeat(200)])
    await assert.rejects(
      w.services.tokens.create(local, { agentName, ttlSeconds: 0, nodeSelectors: [] }),
      rejectsWith('INVALID_REQUEST'),
    );
  await assert.rejects(
    w.services.tokens.create(local, { agentName: 'n', ttlSeconds: 9, nodeSelectors: [] }),
    rejectsWith('TTL_OUT_OF_RANGE'),
  );
  await assert.rejects(
    w.services.tokens.create(local, { agentName: 'n', ttlSeconds: 0, nodeSelectors: ['nonsense'] }),
    rejectsWith('SELECTOR_INVALID'),
  );
  await w.services.roles.put(local, {
    name: 'joiner',
    verbs: ['token.create'],
    prefixes: [id('/meshca/agent/edge-1')],
    members: [id('/ops/j')],
  });
  const admin = await w.mint('/ops/j', true);
  assert.ok(admin.class === 'admin');
  await w.services.tokens.create(admin, { agentName: 'edge-1', ttlSeconds: 0, nodeSelectors: [] });
  await assert.rejects(
    w.services.tokens.create(admin, {
      agentName: 'edge-1',
      ttlSeconds: 0,
      nodeSelectors: ['node:zone:vault'],
    }),
    rejectsWith('ROLE_MISSING'),
  );
  await assert.rejects(
    w.services.tokens.create(admin, { agentName: 'edge-2', ttlSeconds: 0, nodeSelectors: [] }),
    rejectsWith('ROLE_MISSING'),
  );
});

test('whoever fails again and again can not keep others from attesting, and is not shut out himself', async () => {
  await using w = await createServicesWorld({ attestationRate: { perSecond: 1, burst: 200 } });
  const from = (peer: string): AttestExchange =>
    w.services.attestation.open({ peer, serverCertificateSha256: serverHash });
  let admitted = 0;
  for (let each = 0; each < 400; each += 1) {
    try {
      const exchange = from(`192.0.2.66:${each}`);
      admitted += 1;
      await exchange.start(start(byToken('guess'), newKey())).catch(() => {});
      exchange.close();
    } catch (thrown) {
      assert.equal((thrown as PkiError).code, 'RATE_LIMITED');
      break;
    }
  }
  assert.ok(admitted >= 80 && admitted <= 110, `${admitted} admitted`);
  for (let each = 0; each < 20; each += 1) {
    const exchange = from(`192.0.2.7:${each}`);
    svidOf(await exchange.start(start(byToken(await tokenFor(w, `honest-${each}`)), newKey())));
    exchange.close();
  }
});

test('an address is told from another by its network', () => {
  for (const [peer, network] of [
    ['192.0.2.7:9', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6:443', '2001:db8:1:2'],
    ['2001:db8::1:443', '2001:db8:0:0'],
    ['2001:db8:0:0:ffff::9:443', '2001:db8:0:0'],
    ['::1:80', '0:0:0:0'],
    ['::ffff:192.0.2.7:80', '192.0.2.7'],
    ['unknown:0', 'unknown'],
  ] as const)
    assert.equal(holderOf(peer), network, peer);
});

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { openSession } from '../../../src/audit/session.ts';
import {
  silentLogger,
  systemClock,
  systemRandom,
  uuidv7,
} from '../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { spiffeSubject } from '../../../src/domain/index.ts';
import { openAuthorities, type AuthorityStage } from '../../../src/compose/authorities.ts';
import { serverContext, type ServerContext } from '../../../src/compose/context.ts';
import { openIssuing, type IssuingStage } from '../../../src/compose/issuing.ts';
import { LateEdges } from '../../../src/compose/late-edges.ts';
import { linuxBoot } from '../../../src/compose/rotation.ts';
import { openStoreAndLog, type RecordStage } from '../../../src/compose/store-and-log.ts';
import { openTokens, type TokenStage } from '../../../src/compose/tokens.ts';
import type { TokenAdmin } from '../../../src/hsm/index.ts';
import { CrlPublisher, publishBundle, type LeafRequest } from '../../../src/issuance/index.ts';
import { codeOf, startTestServer } from '../../support/server.ts';

/** The stages of a server up to issuing, on a real token and a real database. */
interface Stages {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
}

async function openStages(stack: AsyncDisposableStack): Promise<Stages> {
  const server = stack.use(await startTestServer());
  await server.stop();
  const context = serverContext({
    config: server.config,
    env: {},
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    execPath: process.execPath,
    clock: systemClock,
    boot: linuxBoot(),
    random: systemRandom,
    logger: silentLogger,
  });
  const late = new LateEdges();
  late.fill({ isConnected: () => false });
  const tokens = stack.use(await openTokens(context));
  const records = stack.use(await openStoreAndLog(context, tokens));
  const authorities = stack.use(await openAuthorities({ context, tokens, records }, late));
  const issuing = stack.use(openIssuing({ context, tokens, records, authorities }));
  return { context, tokens, records, authorities, issuing };
}

const workload = SpiffeId.of('spiffe://mesh.test/workload');

const caller = { class: 'local', name: 'test' } as const;

const leafRequest = async (): Promise<LeafRequest> => ({
  requestId: uuidv7(),
  csrDer: createCsr((await generateKeyPairAsync('ec-p256')).privateKey),
  subject: spiffeSubject(workload),
  kind: 'workload',
  profile: 'short-lived',
  ttlSeconds: 60,
  caller,
  holder: 'test',
  entryId: null,
  delegationId: null,
  replaces: null,
  rights: [],
  reason: {},
});

/** Far enough ahead that each CRL is due again. */
const monthsAhead = { ...systemClock, now: () => systemClock.now() + 90 * 86_400 };

describe('the signing gate', () => {
  const stack = new AsyncDisposableStack();
  let stages: Stages;
  /** Opened before the gate was shut. */
  let openRoot: TokenAdmin;
  let signaturesBefore: number;

  before(async () => {
    stages = await openStages(stack);
    const { gate } = stages.tokens;
    const [leaf] = await stages.issuing.issuer.issue([await leafRequest()]);
    assert.equal(leaf?.ok, true, 'the server issues while the gate is open');
    openRoot = await gate.openToken('root');
    stack.defer(() => openRoot.close());
    await stages.records.log.catchUp();
    gate.shut();
    signaturesBefore = gate.signers.state().signatures;
    assert.ok(signaturesBefore > 0);
  });
  after(() => stack.disposeAsync());

  const authority = (kind: 'root' | 'issuing' | 'jwt') => {
    const first = stages.authorities.registry.all().find((candidate) => candidate.kind === kind);
    assert.ok(first?.spkiDer);
    return { ...first, spkiDer: first.spkiDer };
  };

  const refused = async (work: Promise<unknown>): Promise<void> =>
    assert.equal(await codeOf(work), 'SHUTTING_DOWN');

  test('once shut, it lets no leaf be signed, and no intent is written', async () => {
    const { issuing, records } = stages;
    const counts = await records.store.certificates.countByState();
    await refused(issuing.issuer.issue([await leafRequest()]));
    await refused(issuing.certificate.start());
    assert.deepEqual(await records.store.certificates.countByState(), counts);
  });

  test('once shut, the signers behind it refuse each item of whoever asks them', async () => {
    const item = (kind: 'issuing' | 'jwt') => ({
      ckaId: authority(kind).ckaId,
      bytes: Buffer.from('anything'),
      format: 'x509' as const,
    });
    const outcomes = await stages.tokens.gate.signers.sign([item('issuing'), item('jwt')]);
    assert.deepEqual(
      outcomes.map((outcome) => !outcome.ok && outcome.code),
      ['SHUTTING_DOWN', 'SHUTTING_DOWN'],
    );
  });

  test('once shut, it lets no JWT-SVID be signed', () =>
    refused(
      stages.issuing.issuer.issueJwt({
        caller,
        spiffeId: workload,
        audience: ['test'],
        ttlSeconds: 60,
        entryId: 'test',
        holder: 'test',
        rights: [],
        reason: {},
      }),
    ));

  test('once shut, it lets no bundle be signed', () =>
    refused(
      publishBundle(stages.authorities.registry.all(), {
        store: stages.records.store.bundles,
        signers: stages.tokens.gate.signers,
        clock: systemClock,
        refreshHintSeconds: 1234,
        floor: { sequence: () => 0 },
        logger: silentLogger,
      }),
    ));

  test('once shut, it lets no CRL be signed, by an issuing authority or by a root', async () => {
    const { context, tokens, records, authorities } = stages;
    const numbers = async () =>
      (await records.store.revocations.crls()).map(({ authorityId, number }) => [
        authorityId,
        number,
      ]);
    const published = await numbers();
    assert.equal(published.length, 2);
    for (const kind of ['root', 'issuing'] as const) {
      const crls = new CrlPublisher({
        authorities: {
          all: () => authorities.registry.all().filter((candidate) => candidate.kind === kind),
          onChange: () => () => {},
        },
        store: records.store.revocations,
        shards: authorities.shards,
        shardUrl: () => undefined,
        onRevision: () => () => {},
        signers: tokens.gate.signers,
        openToken: tokens.gate.openToken,
        held: () => false,
        clock: monthsAhead,
        clockBelieved: () => true,
        logger: context.logger,
        lifeSeconds: 86_400,
        clockSkewSeconds: 0,
      });
      await crls.start();
      await crls.close();
    }
    assert.deepEqual(await numbers(), published);
  });

  test('once shut, it lets the audit log sign no session', async () => {
    const { log } = stages.records;
    const { signer, origin } = log;
    await refused(
      openSession({
        signer: signer.id,
        origin,
        clock: systemClock,
        sign: async (text) => {
          const [outcome] = await stages.tokens.gate.logSigners.sign([
            { ckaId: signer.ckaId, bytes: Buffer.from(text), format: 'x509' },
          ]);
          if (outcome?.ok !== true) throw Object.assign(new Error(), { code: outcome?.code });
          return outcome.signature;
        },
      }),
    );
    // what begins with the next session, once all records are in the tree
    await refused(log.adopt(log.signer));
  });

  test('once shut, it lets the audit log sign no checkpoint', async () => {
    const { log, store } = stages.records;
    const { latest } = log;
    await store.audit.append([
      { timeMs: systemClock.nowMs(), actor: 'test', kind: 'test', subject: 'test', detail: {} },
    ]);
    await refused(log.catchUp());
    assert.equal(log.latest, latest);
  });

  test('once shut, it opens no token, for whatever a root would sign', async () => {
    const { authorities, tokens } = stages;
    for (const role of ['root', 'issuing'] as const) await refused(tokens.gate.openToken(role));
    const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
    await refused(
      authorities.signDownstream({ caller, requestId: uuidv7(), csrDer, lifeSeconds: 3600 }),
    );
  });

  test('once shut, a token that was open before signs, makes and destroys no key', async () => {
    const { ckaId, keyType, spkiDer } = authority('root');
    await refused(openRoot.sign({ ckaId, keyType, spkiDer }, Buffer.from('anything')));
    await refused(openRoot.generateKey({ ckaId: 'aa'.repeat(16), label: 'test', keyType }));
    await refused(openRoot.destroyKey(ckaId));
    assert.ok(await openRoot.findKey(ckaId), 'the key is still there');
  });

  test('once shut, it gives no lease to rotation or pruning', async () => {
    const { leases } = stages.records.store;
    assert.equal(await leases.acquire('rotation', 'test', systemClock.nowMs(), 1000), undefined);
  });

  test('none of this came to the token', () => {
    assert.equal(stages.tokens.gate.signers.state().signatures, signaturesBefore);
  });
});

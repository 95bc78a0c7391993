import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { VantageAsk } from '../../../../src/services/acme/vantage/vantage-task.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  newKey,
} from '../../../support/services-world.ts';
import { rejectsWith, Receiver, connect, settled } from './hub-support.ts';

test('an agent reports for itself, in bounds', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const { connection } = await connect(w, caller);
  assert.ok(connection);
  const consumer = (name: string, over: object = {}) => ({
    id: name,
    kind: 'proxy',
    spiffeId: id('/a'),
    authoritySetDigest: 'ab'.repeat(32),
    jwtSetDigest: '',
    issuerSetDigest: '',
    capabilities: ['reports-handshakes'],
    state: 'confirmed',
    reason: '',
    since: 1,
    description: 'x',
    departedUntil: 0,
    ...over,
  });
  await connection.consumers({
    snapshot: true,
    consumers: [consumer('p1'), consumer('p2')],
    removedIds: [],
  });
  await connection.consumers({
    snapshot: false,
    consumers: [consumer('p3', { state: 'pending' })],
    removedIds: ['p1'],
  });
  assert.deepEqual(
    (await w.services.agents.get(local, agentId('n1'))).consumers
      .map((each) => `${each.id} ${each.state}`)
      .sort(),
    ['p2 confirmed', 'p3 pending'],
  );
  for (const over of [
    { state: 'fine' },
    { authoritySetDigest: 'zz' },
    { spiffeId: 'x' },
    { id: '' },
    { description: 'a\u0000' },
  ])
    await assert.rejects(
      connection.consumers({ snapshot: false, consumers: [consumer('p', over)], removedIds: [] }),
      (error) => error instanceof PkiError,
    );
  await assert.rejects(
    connection.consumers({
      snapshot: true,
      consumers: Array.from({ length: 10_001 }, (_, index) => consumer(`c${index}`)),
      removedIds: [],
    }),
    rejectsWith('REQUEST_TOO_LARGE'),
  );
  await assert.rejects(connection.replaced(['../x']), rejectsWith('INVALID_REQUEST'));
  for (let call = 0; call < 200; call += 1) await connection.replaced([]).catch(() => {});
  await assert.rejects(
    connection.replaced([]),
    rejectsWith('RATE_LIMITED'),
    'each report is a commit',
  );
});

test('what outage an agent survives follows what it says last, not its hello', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const survived = async (): Promise<number | undefined> =>
    (await w.store.agents.byId(caller.spiffeId))?.survivedOutageSeconds;
  const { connection } = await connect(w, caller, { survivedOutageSeconds: 0 });
  assert.equal(await survived(), 0);
  await connection?.agent({ survivedOutageSeconds: 33 });
  assert.equal(await survived(), 33);
  await connection?.agent({ survivedOutageSeconds: -1 });
  assert.equal(await survived(), 0);
});

test('a store that fails ends the sessions instead of leaving them behind', async () => {
  await using w = await createServicesWorld();
  const receiver = await connect(w, (await w.joinAgent('n1')).caller);
  Object.assign(w.store.entries, {
    changedParents: () => Promise.reject(new PkiError('STORE_FAILED', 'disk')),
  });
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agentId('n1') });
  await settled(w);
  assert.equal(receiver.error?.code, 'STORE_FAILED');
});

test('an agent that opens sessions without end has to wait, and no other with it', async () => {
  await using w = await createServicesWorld();
  const [busy, other] = [(await w.joinAgent('busy')).caller, (await w.joinAgent('other')).caller];
  for (let each = 0; each < 30; each += 1) await connect(w, busy);
  await assert.rejects(connect(w, busy), rejectsWith('RATE_LIMITED'));
  await connect(w, other);
  w.clock.advance(1_500);
  await connect(w, busy);
});

test('what an agent lost is on record before its SVID is in use, and once for each process', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const lost = { instanceId: 'p1', lostState: ['bundle.json: missing'] };
  const kinds = async (): Promise<readonly string[]> =>
    (await w.audit())
      .map(({ kind }) => kind)
      .filter((kind) => /agent\.(state-lost|first-use)/.test(kind));
  const before = await kinds();
  await connect(w, caller, lost);
  assert.deepEqual((await kinds()).slice(before.length), ['agent.state-lost', 'agent.first-use']);
  await connect(w, caller, lost);
  await connect(w, caller, { ...lost, instanceId: 'p2' });
  assert.equal((await w.audit('agent.state-lost')).length, 2);
});

test('an instance ID or a lost file that is too long or no printable text is refused', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  for (const bad of [
    { instanceId: 'x'.repeat(65) },
    { instanceId: 'a\nb' },
    { lostState: ['x'.repeat(65)] },
    { lostState: ['bundle.json: \u001b[31mmissing'] },
  ])
    await assert.rejects(connect(w, caller, bad), rejectsWith('INVALID_REQUEST'));
});

test('connected agents judge the clock of the server, and those that have gone do not', async () => {
  await using w = await createServicesWorld();
  const ahead = (): number => w.services.sync.aheadOfAgents(60);
  const clockMs = w.clock.nowMs() - 600_000;
  const [first] = await Promise.all(
    ['n1', 'n2', 'n3'].map(async (name) =>
      connect(w, (await w.joinAgent(name)).caller, { clockMs }),
    ),
  );
  assert.equal(ahead(), 600);
  first?.connection?.closed();
  assert.equal(ahead(), 0);
});

test('a copy that asks again and again is on record once, and its refusals are counted', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const as = (instanceId: string) => connect(w, caller, { instanceId });
  await as('x');
  await as('y');
  await as('x');
  for (let tries = 0; tries < 4; tries += 1)
    await assert.rejects(as('y'), rejectsWith('AGENT_DOUBLED'));
  assert.equal((await w.audit('request.refused')).length, 1);
  await w.services.refusals.flush();
  const [summary, ...more] = await w.audit('requests.refused');
  assert.deepEqual(more, []);
  assert.match(summary?.canonical.toString() ?? '', /Sync AGENT_DOUBLED 3/);
});

test('an agent is told which of its certificates were revoked until each has a successor', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const n1 = await w.joinAgent('n1');
  const other = await connect(w, (await w.joinAgent('n2')).caller, {
    capabilities: ['replace-svids'],
  });
  const older = await connect(w, (await w.joinAgent('n3')).caller);
  const entryId = await w.addEntry({ spiffeId: id('/a'), parentId: agentId('n1') });
  const key = newKey();
  const sign = async (signing = newKey(), replacesSerial = ''): Promise<string> => {
    const item = { requestId: uuidv7(), entryId, csrDer: createCsr(signing), ttlSeconds: 0 };
    const [outcome] = await w.services.svids.signX509(n1.caller, [
      { ...item, selectors: [], replacesSerial },
    ]);
    assert.ok(outcome?.ok);
    return outcome.leaf.serial;
  };
  const first = await connect(w, n1.caller, { capabilities: ['replace-svids'] });
  const told = (receiver: Receiver): readonly (readonly string[])[] =>
    receiver.messages.flatMap((message) => (message.kind === 'replace' ? [message.serials] : []));
  const [revoked, blocked] = [await sign(), await sign(key)];
  assert.deepEqual(told(first), []);
  await w.services.revocations.revoke(local, { serial: revoked, reason: 'superseded' });
  await settled(w);
  assert.deepEqual(told(first), [[revoked]]);
  await w.services.keys.block(local, { serial: blocked }, 'stolen');
  await settled(w);
  assert.deepEqual(told(first).at(-1), [revoked, blocked].sort());
  // what an agent is told is state: it is told again when it comes back
  await sign(newKey(), revoked);
  const second = await connect(w, n1.caller, { capabilities: ['replace-svids'] });
  assert.deepEqual(told(second), [[blocked]]);
  assert.deepEqual([told(other), told(older)], [[], []]);
  for (const { windowSeconds } of second.messages.filter((message) => message.kind === 'replace'))
    assert.ok(windowSeconds >= 1 && windowSeconds <= w.settings.taintWindowSeconds);
});

test('validations go to agents that offer them, and a ban ends what one of them says', async () => {
  await using w = await createServicesWorld();
  const ask: VantageAsk = {
    ...{ challenge: 'http-01', identifier: { type: 'dns', value: 'www.test' }, wildcard: false },
    ...{ token: 'token', keyAuthorization: 'token.thumb', accountUri: 'https://ca.test/1' },
    ...{ caaMethod: '', caaIdentities: [], timeoutSeconds: 20 },
  };
  const { vantage } = w.services.sync;
  const [n1, n2] = [(await w.joinAgent('n1')).caller, (await w.joinAgent('n2')).caller];
  const offering = await connect(w, n1, { capabilities: ['vantage'] });
  await connect(w, n2);
  const there = () => vantage.connected().map(({ agentId: each }) => each);
  assert.deepEqual(there(), [agentId('n1')]);
  const { signal } = new AbortController();
  assert.equal((await vantage.ask(agentId('n2'), ask, signal)).code, 'not-connected');
  const asked = vantage.ask(agentId('n1'), ask, signal);
  await settled(w);
  const tasks = () => offering.messages.filter((message) => message.kind === 'vantage');
  const [task] = tasks();
  assert.match(task?.task.taskId ?? '', /^[A-Za-z0-9_-]{22}$/);
  const result = { result: 'agreed', code: '', seenAt: [] };
  offering.connection?.vantageAnswered({ taskId: task?.task.taskId ?? '', ...result });
  assert.deepEqual(await asked, result);
  offering.full = true;
  const cut = vantage.ask(agentId('n1'), ask, signal);
  await settled(w);
  // it does not read: nothing piles up for it
  assert.equal((await vantage.ask(agentId('n1'), ask, signal)).code, 'overloaded');
  offering.full = false;
  offering.connection?.drained();
  const another = vantage.ask(agentId('n1'), ask, signal);
  await settled(w);
  assert.equal(tasks().length, 3);
  await w.services.agents.ban(local, agentId('n1'), '');
  assert.deepEqual([(await cut).result, (await another).result], ['absent', 'absent']);
  assert.deepEqual(there(), []);
  assert.equal(tasks().length, 3);
});

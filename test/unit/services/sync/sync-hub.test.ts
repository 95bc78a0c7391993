import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { Position } from '../../../../src/domain/index.ts';
import type {
  AgentCaller,
  SyncConnection,
  SyncHello,
  SyncMessage,
  SyncSession,
} from '../../../../src/services/index.ts';
import type { VantageAsk } from '../../../../src/services/acme/vantage/vantage-task.ts';
import { settle } from '../../../support/agent.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  selector,
  trustDomain,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { until } from '../../../support/until.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
const server = serverId(trustDomain).toString();
type Entries = Extract<SyncMessage, { kind: 'entries' }>;

/** An agent's end: keeps what it was sent, as an agent would. */
class Receiver implements SyncSession {
  readonly messages: SyncMessage[] = [];
  readonly held = new Map<string, string>();
  position: Position | undefined;
  error: PkiError | undefined;
  full = false;
  connection: SyncConnection | undefined;
  #staging: Map<string, string> | undefined;

  send(message: SyncMessage): boolean {
    this.messages.push(message);
    if (message.kind === 'entries') this.#apply(message);
    return !this.full;
  }

  close(error: PkiError): void {
    this.error = error;
    this.connection?.closed();
  }

  pages(): readonly Entries[] {
    return this.messages.filter((message) => message.kind === 'entries');
  }

  #apply(page: Entries): void {
    if (page.snapshotBegin) this.#staging = new Map();
    const into = this.#staging ?? this.held;
    for (const removed of page.removedIds) into.delete(removed);
    for (const entry of page.upserts) into.set(entry.id, entry.spiffeId);
    if (page.snapshotEnd) {
      this.held.clear();
      for (const [key, value] of this.#staging ?? []) this.held.set(key, value);
      this.#staging = undefined;
    }
    if (page.position !== undefined) this.position = page.position;
  }
}

const hello = (over: Partial<SyncHello> = {}): SyncHello => ({
  protocolVersion: 1,
  agentVersion: '1',
  capabilities: [],
  position: undefined,
  bundleSequence: 1,
  survivedOutageSeconds: 100,
  ...over,
});

async function connect(
  w: ServicesWorld,
  caller: AgentCaller,
  over: Partial<SyncHello> = {},
  full = false,
): Promise<Receiver> {
  const receiver = new Receiver();
  receiver.full = full;
  receiver.connection = await w.services.sync.open(caller, hello(over), receiver);
  await settled(w);
  return receiver;
}
async function settled(w: ServicesWorld): Promise<void> {
  await settle();
  await w.services.sync.settled();
  await settle();
}
const held = (receiver: Receiver): readonly string[] => [...receiver.held.keys()].sort();

test('an agent gets a snapshot of its entries, then only what changes for it', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agentId('n1') });
  const n1 = await connect(w, (await w.joinAgent('n1')).caller);
  const n2 = await connect(w, (await w.joinAgent('n2')).caller);
  assert.equal(n1.messages[0]?.kind, 'welcome');
  assert.deepEqual([held(n1), held(n2)], [['a'], []]);
  const sent = n2.messages.length;
  await w.addEntry({ id: 'b', spiffeId: id('/b'), parentId: agentId('n1') });
  await settled(w);
  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/a2'), parentId: agentId('n1') }),
    0,
  );
  await w.services.entries.delete(local, ['b']);
  await settled(w);
  assert.deepEqual([...n1.held], [['a', id('/a2')]]);
  assert.equal(n2.messages.length, sent, 'what concerns another is not sent');
  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/a2'), parentId: agentId('n2') }),
    0,
  );
  await settled(w);
  assert.deepEqual(
    [held(n1), held(n2)],
    [[], ['a']],
    'an entry that moves leaves one and comes to the other',
  );
});

test('agents lose the entries of a tenant when it ends, also those that were away, and no others', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const { caller: away } = await w.joinAgent('n2');
  for (const [entry, path, node] of [
    ['a', '/shop/web', 'n1'],
    ['b', '/shops/web', 'n1'],
    ['c', '/shop/db', 'n2'],
    ['d', '/db', 'n2'],
  ] as const)
    await w.addEntry({ id: entry, spiffeId: id(path), parentId: agentId(node) });
  const shop = {
    ...{ name: 'shop', description: '', dnsSuffixes: [], spiffePrefixes: [id('/shop/')] },
    ...{ quotaCertificates: 0, quotaSeconds: 0 },
  };
  await w.services.tenants.create(local, shop, { dryRun: false });
  const n1 = await connect(w, caller);
  const n2 = await connect(w, away);
  n2.connection?.closed();
  await w.services.tenants.end(local, 'shop', 'offboarded');
  await settled(w);
  assert.deepEqual(held(n1), ['b']);
  assert.equal(n1.pages().at(-1)?.snapshotBegin, false, 'it is told what is gone, and no more');
  const back = await connect(w, away, { position: n2.position });
  assert.deepEqual(back.pages()[0]?.removedIds, ['c']);
  assert.deepEqual(held(await connect(w, away)), ['d'], 'a snapshot leaves them out');

  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/shop/web'), parentId: agentId('n1'), hint: 'x' }),
    0,
  );
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  await settled(w);
  assert.deepEqual(held(n1), ['b', 'e'], 'a change does not bring it back');
  await w.services.tenants.delete(local, 'shop', 'gone');
  await settled(w);
  assert.deepEqual(held(n1), ['a', 'b', 'e'], 'its names are free');
});

test('a change that concerns nobody connected costs no query per agent', async () => {
  await using w = await createServicesWorld();
  for (let index = 0; index < 20; index += 1)
    await connect(w, (await w.joinAgent(`n${index}`)).caller);
  let queries = 0;
  const { changes } = w.store.entries;
  Object.assign(w.store.entries, {
    changes: (...parameters: Parameters<typeof changes>) => {
      queries += 1;
      return changes(...parameters);
    },
  });
  await w.addEntry({ id: 'x', spiffeId: id('/x'), parentId: agentId('absent') });
  await settled(w);
  assert.equal(queries, 0);
  await w.addEntry({ id: 'y', spiffeId: id('/y'), parentId: agentId('n3') });
  await settled(w);
  assert.equal(queries, 1);
});

test('a change under a node set is read once and is one object for all its agents', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  const receivers: Receiver[] = [];
  for (let index = 0; index < 10; index += 1)
    receivers.push(await connect(w, (await w.joinAgent(`n${index}`, ['node:zone:edge'])).caller));
  let queries = 0;
  const { changes } = w.store.entries;
  Object.assign(w.store.entries, {
    changes: (...parameters: Parameters<typeof changes>) => {
      queries += 1;
      return changes(...parameters);
    },
  });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await settled(w);
  assert.ok(receivers.every((receiver) => receiver.held.has('shared')));
  assert.equal(new Set(receivers.map((receiver) => receiver.pages().at(-1))).size, 1);
  assert.equal(queries, 1);
});

test('an agent that joins or leaves a node set gets its entries anew, also after an absence', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1', ['node:zone:edge']);
  await w.addEntry({
    id: 'set',
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:core')],
  });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await w.addEntry({ id: 'own', spiffeId: id('/own'), parentId: agentId('n1') });
  const first = await connect(w, caller);
  assert.deepEqual(held(first), ['own']);
  const set = entryInput({
    id: 'set',
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  await w.services.entries.update(local, set, 0);
  await settled(w);
  assert.deepEqual(held(first), ['own', 'shared']);
  const position = first.position as Position;
  first.connection?.closed();
  const back = await connect(w, caller, { position });
  assert.equal(back.pages().length, 0, 'nothing has changed');
  back.connection?.closed();
  await w.services.entries.update(local, { ...set, selectors: [selector('node:zone:core')] }, 0);
  const later = await connect(w, caller, { position });
  assert.ok(later.pages()[0]?.snapshotBegin);
  assert.deepEqual(held(later), ['own']);
});

test('a position gets the changes since, and a foreign or future position gets a snapshot', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agentId('n1') });
  await w.addEntry({ id: 'b', spiffeId: id('/b'), parentId: agentId('n1') });
  const first = await connect(w, caller);
  const position = first.position as Position;
  first.connection?.closed();
  await w.services.entries.delete(local, ['a']);
  await w.addEntry({ id: 'c', spiffeId: id('/c'), parentId: agentId('n1') });
  const back = await connect(w, caller, { position });
  assert.deepEqual(
    back
      .pages()
      .map(({ snapshotBegin, upserts, removedIds }) => [
        snapshotBegin,
        upserts.map((entry) => entry.id),
        removedIds,
      ]),
    [[false, ['c'], ['a']]],
  );
  for (const wrong of [
    { epoch: 'other', revision: position.revision },
    { epoch: position.epoch, revision: position.revision + 1000 },
  ])
    assert.ok((await connect(w, caller, { position: wrong })).pages()[0]?.snapshotBegin);
});

test('20,000 entries go in pages of at most 500, and a slow agent is neither flooded nor forgotten', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const many = Array.from({ length: 20_000 }, (_, index) =>
    entryInput({ id: `e${index}`, spiffeId: id(`/w/${index}`), parentId: agentId('n1') }),
  );
  await w.services.entries.apply(local, many, { prune: false, dryRun: false });
  const slow = await connect(w, caller, {}, true);
  assert.equal(
    slow.messages.length,
    1,
    'nothing after the first that the transport could not take',
  );
  for (let turn = 0; turn < 5; turn += 1) {
    slow.connection?.drained();
    await settle();
  }
  assert.equal(slow.messages.length, 6);
  await w.services.entries.delete(local, ['e0', 'e19999']);
  await w.addEntry({ id: 'late', spiffeId: id('/late'), parentId: agentId('n1') });
  slow.full = false;
  slow.connection?.drained();
  await until(async () => {
    await settled(w);
    return slow.held.size === 19_999;
  });
  assert.equal(slow.held.size, 19_999);
  assert.ok(slow.held.has('late') && !slow.held.has('e0'));
  assert.ok(slow.pages().every(({ upserts }) => upserts.length <= 500));
});

test('a page stays under about one megabyte', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const placeholders = {
    'unix.user': Array.from({ length: 1000 }, (_, index) => `${'v'.repeat(80)}${index}`),
  };
  for (let index = 0; index < 30; index += 1)
    await w.addEntry({
      id: `t${index}`,
      spiffeId: id(`/t${index}/{unix.user}`),
      parentId: agentId('n1'),
      placeholders,
    });
  const receiver = await connect(w, caller);
  assert.equal(receiver.held.size, 30);
  assert.ok(receiver.pages().length >= 3);
  assert.ok(receiver.pages().every((page) => JSON.stringify(page.upserts).length < 1_200_000));
});

test('bundles come as steps from the sequence that the agent holds, and taints as state', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const receiver = await connect(w, caller);
  assert.deepEqual(
    receiver.messages.map(({ kind }) => kind),
    ['welcome', 'entries'],
    'nothing new of bundles, nothing tainted',
  );
  const bundle = { sequence: 2, document: '{}', jws: 'bundle.2', createdAt: w.clock.now() };
  await w.store.bundles.append(bundle, {
    timeMs: 0,
    actor: 'server',
    kind: 'bundle.published',
    subject: '2',
    detail: {},
  });
  w.setAuthorities({ bundle, tainted: [{ ...w.issuing, state: 'tainted', taintedAt: 7 }] });
  await settled(w);
  const [steps, taints] = receiver.messages.slice(2);
  assert.ok(steps?.kind === 'bundles' && steps.steps.map(({ jws }) => jws).join() === 'bundle.2');
  assert.ok(
    taints?.kind === 'authorities' &&
      taints.tainted[0]?.authorityId === w.issuing.id &&
      taints.tainted[0].taintedAt === 7,
  );
  const old = await connect(w, caller, { bundleSequence: 0 });
  assert.ok(
    old.messages.some((message) => message.kind === 'bundles' && message.steps.length === 2),
  );
  const restored = await connect(w, caller, { bundleSequence: 9 });
  assert.ok(
    restored.messages.some(
      (message) => message.kind === 'bundles' && message.steps[0]?.sequence === 2,
    ),
  );
});

test('a session ends by a newer one, a ban, a new attestation and the end of its certificate', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 60 });
  const { caller } = await w.joinAgent('n1');
  const first = await connect(w, caller);
  const second = await connect(w, caller);
  assert.equal(first.error?.code, 'AGENT_SUPERSEDED');
  assert.equal(w.services.sync.connectedCount(), 1);
  const next = (await w.joinAgent('n1')).caller;
  assert.equal(second.error?.code, 'AGENT_SUPERSEDED');
  await assert.rejects(connect(w, caller), rejectsWith('AGENT_SUPERSEDED'));
  const third = await connect(w, next);
  await w.services.attestation.renew(next, {
    requestId: uuidv7(),
    csrDer: createCsr(newKey()),
    agentVersion: '1',
  });
  assert.equal(third.error?.code, undefined, 'a renewal ends nothing');
  w.clock.advance(62_000);
  assert.equal((third as Receiver).error?.code, 'CERTIFICATE_EXPIRED');
  const last = (await w.joinAgent('n1')).caller;
  const fourth = await connect(w, last);
  await w.services.agents.ban(local, agentId('n1'), '');
  assert.equal(fourth.error?.code, 'AGENT_BANNED');
  await assert.rejects(connect(w, last), rejectsWith('AGENT_BANNED'));
  assert.equal(w.services.sync.connectedCount(), 0);
});

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

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SyncMessage, SyncSession } from '../../../../src/services/index.ts';
import { SentBundles } from '../../../../src/services/sync/federated.ts';
import { bundleDocumentOf, foreignRoot } from '../../../support/bundle-endpoint.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { until } from '../../../support/until.ts';

type Federated = Extract<SyncMessage, { kind: 'federated' }>;

/** An agent's end: what it holds of foreign trust domains. */
class Receiver implements SyncSession {
  readonly messages: Federated[] = [];
  entries = 0;
  readonly held = new Map<string, number>();

  send(message: SyncMessage): boolean {
    if (message.kind === 'entries') this.entries += 1;
    if (message.kind !== 'federated') return true;
    this.messages.push(message);
    for (const name of this.held.keys())
      if (!message.trustDomains.includes(name)) this.held.delete(name);
    for (const { trustDomain, sequence } of message.bundles) this.held.set(trustDomain, sequence);
    return true;
  }

  close(): void {}

  names(): string {
    return [...this.held.keys()].sort().join(' ');
  }
}

async function connect(w: ServicesWorld, name: string, capabilities: readonly string[]) {
  const { caller } = await w.joinAgent(name);
  return open(w, caller, capabilities);
}

type Caller = Awaited<ReturnType<ServicesWorld['joinAgent']>>['caller'];

async function open(w: ServicesWorld, caller: Caller, capabilities: readonly string[]) {
  const receiver = new Receiver();
  await w.services.sync.open(
    caller,
    {
      protocolVersion: 1,
      agentVersion: '1',
      capabilities,
      position: undefined,
      bundleSequence: 1,
      survivedOutageSeconds: 0,
    },
    receiver,
  );
  await until(() => receiver.entries > 0);
  return receiver;
}

const trust = (w: ServicesWorld, name: string): Promise<unknown> =>
  w.services.federation.create(local, {
    trustDomain: name,
    endpointUrl: `https://${name}/`,
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: `spiffe://${name}/server`,
    webRoots: [],
    bundleDocument: Buffer.from(bundleDocumentOf({ roots: [foreignRoot(name)], sequence: 7 })),
  });

test('an agent gets the bundles that its entries name, as state, and a deletion takes them at once', async () => {
  await using w = await createServicesWorld();
  await trust(w, 'a.test');
  await trust(w, 'b.test');
  const parentId = agentId('n1');
  await w.addEntry({
    id: 'web',
    spiffeId: id('/web'),
    parentId,
    federatesWith: ['a.test', 'c.test'],
  });
  const receiver = await connect(w, 'n1', ['federation']);
  const other = await connect(w, 'n2', ['federation']);
  const older = await connect(w, 'n3', []);
  assert.equal(receiver.names(), 'a.test');
  assert.equal(receiver.held.get('a.test'), 7);
  assert.deepEqual(
    [other.messages, older.messages],
    [[{ kind: 'federated', trustDomains: [], bundles: [] }], []],
  );
  await w.addEntry({ id: 'db', spiffeId: id('/db'), parentId, federatesWith: ['b.test'] });
  await until(() => receiver.names() === 'a.test b.test');
  assert.deepEqual(
    receiver.messages.at(-1)?.bundles.map(({ trustDomain }) => trustDomain),
    ['b.test'],
    'only what is new is sent',
  );
  await w.services.entries.delete(local, ['db']);
  await until(() => receiver.names() === 'a.test');
  await trust(w, 'c.test');
  await until(() => receiver.names() === 'a.test c.test');
  await w.services.federation.delete(local, 'a.test', 'the contract ended');
  await until(() => receiver.names() === 'c.test');
  await w.services.sync.settled();
  assert.equal(other.messages.length, 1);
});

test('a template that names a foreign trust domain brings its bundle, until it is deleted', async () => {
  await using w = await createServicesWorld();
  await trust(w, 'a.test');
  await trust(w, 'b.test');
  const receiver = await connect(w, 'n1', ['federation']);
  await w.addEntry({
    id: 'users',
    spiffeId: id('/u/{unix.user}'),
    placeholders: { 'unix.user': ['alice'] },
    parentId: agentId('n1'),
    federatesWith: ['a.test'],
  });
  await until(() => receiver.names() === 'a.test');
  await w.services.entries.delete(local, ['users']);
  await until(() => receiver.names() === '');
});

test('an agent that comes back has what changed meanwhile, and nothing that was withdrawn', async () => {
  await using w = await createServicesWorld();
  await trust(w, 'a.test');
  await trust(w, 'b.test');
  const names = ['a.test', 'b.test', 'c.test'];
  await w.addEntry({
    id: 'web',
    spiffeId: id('/web'),
    parentId: agentId('n1'),
    federatesWith: names,
  });
  const { caller } = await w.joinAgent('n1');
  const before = await open(w, caller, ['federation']);
  assert.equal(before.names(), 'a.test b.test');
  // the stream is cut: what is sent from now on reaches nobody
  before.send = () => false;
  await w.services.federation.delete(local, 'a.test', 'over');
  await trust(w, 'c.test');
  const after = await open(w, caller, ['federation']);
  await until(() => after.names() === 'b.test c.test');
  assert.deepEqual(after.messages[0]?.trustDomains, ['b.test', 'c.test']);
});

test('bundles that are too large for one message follow in further ones with the same names', () => {
  const sent = new SentBundles();
  const bundles = ['a.test', 'b.test', 'c.test'].map((trustDomain) => ({
    trustDomain,
    sequence: 1,
    document: 'x'.repeat(400_000),
  }));
  const messages = sent.next(bundles);
  assert.deepEqual(
    messages.map((message) => [
      message.trustDomains.length,
      message.bundles.map(({ trustDomain }) => trustDomain),
    ]),
    [
      [3, ['a.test', 'b.test']],
      [3, ['c.test']],
    ],
  );
  assert.deepEqual(sent.next(bundles), []);
  assert.deepEqual(sent.next([]), [{ kind: 'federated', trustDomains: [], bundles: [] }]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock, systemRandom } from '../../../../src/common/runtime/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import { foreignDocument } from '../../../support/foreign-bundle.ts';
import { createRoot } from '../../../support/test-pki.ts';
import { EntriesReceiver } from '../../../../sidecar/sync/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { makeAuthority } from '../../../support/x509.ts';
import { agentId, FakeServer, newJwtKey, wireEntry } from '../../../support/agent-fake-server.ts';
import { until } from '../../../support/until.ts';
import {
  trustDomain,
  selectors,
  seconds,
  directoryFor,
  startAgent,
  startServer,
  identityOf,
} from './session-support.ts';

test('a snapshot in pages replaces everything at once, and a reconnect asks from its position', async (context) => {
  const server = await startServer(context);
  server.entries = Array.from({ length: 2500 }, (_, index) =>
    wireEntry(`e${index}`, [`unix:uid:${index}`]),
  );
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  const sizes: number[] = [];
  agent.cache.onChange(() => sizes.push(agent.cache.size()));
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.deepEqual(sizes, [2500]);
  server.change([wireEntry('new', ['unix:uid:9999'])], ['e0']);
  await until(() => agent.cache.get('new') !== undefined, 'the change');
  assert.equal(agent.cache.get('e0'), undefined);
  await server.stop();
  await until(() => !agent.session.connected(), 'the loss');
  await server.restart();
  await until(() => agent.session.connected() && server.session.up.length > 0, 'the reconnect');
  assert.deepEqual(server.session.up[0]?.hello?.position, { epoch: 'e1', revision: 2 });
  assert.equal(agent.cache.size(), 2500, 'nothing was lost meanwhile');
});

test('bundle steps are taken one after another under the keys held, and forged ones are not', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  const first = server.jwtKeys[0];
  const second = newJwtKey('jwt-2');
  const forged = await server.bundleStep(2, newJwtKey('jwt-1'));
  server.session.call.write({ bundles: { steps: [forged], federated: [] } });
  const wrongType = await server.bundleStep(2, first, [], 'JWT');
  server.session.call.write({ bundles: { steps: [wrongType], federated: [] } });
  server.jwtKeys = [second];
  const extra = makeAuthority('next root', {
    notBefore: seconds() - 60,
    notAfter: seconds() + 3600,
  });
  const two = await server.bundleStep(2, first, [extra]);
  const three = await server.bundleStep(3, second, [extra]);
  // out of order: the second step can not be checked yet
  server.session.call.write({ bundles: { steps: [three], federated: [] } });
  server.session.call.write({ bundles: { steps: [two, three], federated: [] } });
  await until(() => agent.bundles.current()?.sequence === 3, 'the third bundle');
  assert.equal(agent.bundles.roots().length, 2);
  server.session.call.write({ bundles: { steps: [two], federated: [] } });
  server.change([wireEntry('marker', ['unix:uid:1'])]);
  await until(() => agent.cache.get('marker') !== undefined, 'the marker');
  assert.equal(agent.bundles.current()?.sequence, 3, 'never backwards');
});

test('the server is told of a refused bundle step once in each session, and when a later one is taken', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  const send = (...steps: readonly object[]): void => {
    server.session.call.write({ bundles: { steps: [...steps], federated: [] } });
  };
  const told = () =>
    server.session.up.flatMap(({ agent: report }) => (report ? [report.bundleRefusal] : []));
  const [first] = server.jwtKeys;
  send(await server.bundleStep(2, newJwtKey('forged')), await server.bundleStep(3, first));
  await until(() => told().length === 1, 'the refusal');
  assert.deepEqual(
    [told()[0]?.sequence, told()[0]?.heldSequence, told()[0]?.code],
    [2, 1, 'SERVER_UNTRUSTED'],
  );
  assert.match(told()[0]?.message ?? '', /^bundle 2 is not signed under the bundle held \(1\)/);
  assert.equal(agent.bundles.current()?.sequence, 1, 'nothing behind it is taken');
  send(await server.bundleStep(2, first));
  await until(() => told().length === 2, 'the next step');
  assert.equal(told()[1] ?? null, null);

  send(await server.bundleStep(3, newJwtKey('forged')));
  await until(() => told().length === 3, 'the second refusal');
  await server.stop();
  await until(() => !agent.session.connected(), 'the loss');
  assert.equal(agent.bundles.refused()?.sequence, 3, 'it is shown while the server is away');
  await server.restart();
  await until(() => agent.session.connected(), 'the next session');
  assert.equal(agent.bundles.refused(), undefined, 'what this server sends is judged anew');
});

test('foreign bundles come and go with the stream; none stays under a server without federation', async (context) => {
  const server = await startServer(context);
  server.capabilities = ['federation'];
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.ok(server.session.up[0]?.hello?.capabilities.includes('federation'));
  const send = (trustDomains: readonly string[], ...named: readonly string[]): void => {
    const bundles = named.map((name) => ({
      ...foreignDocument(name, 1, [createRoot(name)]),
      sequence: 1,
    }));
    server.session.call.write({ federated: { trustDomains: [...trustDomains], bundles } });
  };
  const names = (): string => [...agent.bundles.federated().keys()].join();
  send(['a.test', 'b.test'], 'a.test');
  send(['a.test', 'b.test'], 'b.test');
  await until(() => names() === 'a.test,b.test', 'both');
  send(['b.test']);
  await until(() => names() === 'b.test', 'the withdrawal');
  const step = await server.bundleStep(2, server.jwtKeys[0]);
  server.session.call.write({ bundles: { steps: [step], federated: [] } });
  await until(() => agent.bundles.current()?.sequence === 2, 'the own bundle');
  assert.equal(names(), 'b.test');
  await server.stop();
  await until(() => !agent.session.connected(), 'the loss');
  assert.equal(names(), 'b.test', 'an outage takes nothing');
  server.capabilities = [];
  await server.restart();
  await until(() => names() === '', 'nobody would withdraw it');
});

test('consumers are reported as a snapshot, then as changes, and serials once they are replaced', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, {
    directory: await directoryFor(context),
    random: { ...systemRandom, uniform: () => 0 },
  });
  const early = agent.consumers.register({
    kind: 'workload-stream',
    spiffeId: 'spiffe://td/web',
    description: 'a',
  });
  early.pending(Buffer.alloc(32, 1));
  await until(() => agent.cache.synced() && server.session.up.length >= 2, 'the snapshot');
  const reports = (): unknown[] =>
    server.session.up.flatMap(({ consumers }) => (consumers ? [consumers] : []));
  assert.equal(server.session.up[1]?.consumers?.snapshot, true);
  assert.equal(server.session.up[1]?.consumers?.consumers[0]?.state, 'pending');
  early.confirmed(Buffer.alloc(32, 2));
  early.confirmed(Buffer.alloc(32, 3));
  const fleeting = agent.consumers.register({
    kind: 'proxy',
    spiffeId: 'spiffe://td/x',
    description: 'b',
  });
  fleeting.remove();
  await until(() => reports().length === 2, 'one report');
  const [, change] = server.session.up.flatMap(({ consumers }) => (consumers ? [consumers] : []));
  assert.deepEqual(
    change?.consumers.map(({ state, authoritySetDigest }) => [state, authoritySetDigest[0]]),
    [['confirmed', 3]],
  );
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const old = await subscription.ready();
  subscription.confirm(old.serial);
  server.change([wireEntry('web', ['unix:uid:1'], { revision: 2 })]);
  await until(() => subscription.current()?.serial !== old.serial, 'a new SVID');
  assert.equal(server.signCalls.at(-1)?.[0]?.replacesSerial, old.serial);
  assert.deepEqual(agent.replaced, []);
  subscription.confirm(subscription.current()?.serial ?? '');
  await until(
    () =>
      server.session.up.some(({ replacements }) =>
        replacements?.replacedSerials.includes(old.serial),
      ),
    'the replacement report',
  );
});

test('pages that do not follow one another are refused, and a snapshot is asked for', () => {
  const page = {
    snapshotBegin: false,
    snapshotEnd: false,
    upserts: [],
    removedIds: [],
    position: null,
  };
  const cache = new SyncedEntryCache({ trustDomain, clock: systemClock, logger: silentLogger });
  const receiver = new EntriesReceiver(cache);
  receiver.begin(agentId);
  assert.throws(() => receiver.apply(page), { code: 'INVALID_REQUEST' });
  receiver.apply({ ...page, snapshotBegin: true });
  assert.equal(cache.synced(), false, 'a snapshot counts when it is whole');
  assert.throws(() => receiver.apply({ ...page, snapshotEnd: true }), { code: 'INVALID_REQUEST' });
  receiver.apply({
    ...page,
    snapshotBegin: true,
    snapshotEnd: true,
    position: { epoch: 'e', revision: 1 },
  });
  assert.equal(cache.synced(), true);
});

test('file targets are told only to a server that knows them', async (context) => {
  const targetReports = (server: FakeServer) =>
    server.session.up.flatMap((message) => (message.targets ? [message.targets] : []));
  for (const capabilities of [[], ['file-targets']]) {
    const server = await startServer(context);
    server.capabilities = capabilities;
    const agent = await startAgent(context, server, { directory: await directoryFor(context) });
    await until(() => agent.session.connected(), 'the session');
    const reports = () => server.session.up.filter(({ consumers }) => consumers).length;
    agent.consumers.register({
      ...{ kind: 'workload-stream', spiffeId: 'spiffe://td/web', description: 'a reader' },
    });
    await until(() => reports() >= 2, 'a report that comes after those of the beginning');
    assert.equal(targetReports(server).length, capabilities.length);
    assert.ok(server.session.up[0]?.hello?.capabilities.includes('file-targets'));
  }
});

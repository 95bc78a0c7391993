import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { defer } from '../../../support/agent-fake-server.ts';
import {
  controlId,
  controlSvid,
  delegate,
  itemFor,
  Watcher,
} from '../../../support/control-plane.ts';
import { quickLives, rotationOf } from '../../../support/mesh.ts';
import {
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';
import { until } from '../../../support/until.ts';

const sign = '/meshca.signing.v1.Signing/Sign';

/** A server, an agent that confirms all by itself, and the certificate of a control plane below it. */
async function meshOf(
  context: TestContext,
  config: object = quickLives,
): Promise<{
  readonly server: TestServer;
  readonly agent: SimAgent;
  readonly control: Credential;
  readonly delegationId: string;
}> {
  const server = await startTestServer({ config });
  defer(context, () => server[Symbol.asyncDispose]());
  const agent = await SimAgent.join(simServer(server), 'node-1');
  defer(context, () => agent[Symbol.asyncDispose]());
  const delegationId = await delegate(server, 'istiod');
  return { server, agent, delegationId, control: await controlSvid(server, agent, 'istiod', 60) };
}

async function watching(
  server: TestServer,
  control: Credential,
  hello: ConstructorParameters<typeof Watcher>[1],
): Promise<Watcher> {
  const watcher = new Watcher(server.client(control, await rootsOf(server)), hello);
  await until(() => watcher.roots.length > 0 || watcher.ended, 'the first state');
  assert.equal(watcher.error, undefined);
  return watcher;
}

const rootsOf = async (server: TestServer) =>
  (await server.admin('Authorities/GetBundle')).rootsDer as Buffer[];

const laggardsOf = async (server: TestServer): Promise<readonly string[]> =>
  ((await rotationOf(server).inState('root', 'published'))?.confirmation?.laggards ?? []).map(
    ({ kind, spiffeId, state }) => `${kind} ${spiffeId} ${state}`,
  );

test('the first message is the whole state: roots, JWT keys, CRLs if wanted, taints, what to renew', async (context) => {
  const { server, control } = await meshOf(context, {
    ...quickLives,
    issuance: { ...quickLives.issuance, crlBaseUrl: 'http://ca.mesh.test/crl' },
  });
  const one = await watching(server, control, { instance: 'one' });
  const [first] = one.received;
  assert.deepEqual(first!.trust!.rootsDer, server.rootsDer);
  assert.equal(first!.trust!.trustDomain, 'mesh.test');
  assert.equal(first!.trust!.jwtKeys.length, 1);
  assert.ok(first!.crls!.crls.length > 0);
  assert.deepEqual(first!.taints!.authorities, []);
  assert.deepEqual(first!.renewNow, { ownCertificate: false, items: [] });
  const two = await watching(server, control, { instance: 'two', withoutCrls: true });
  assert.deepEqual(two.received[0]!.crls, { crls: [], onlyHttp: false });
  const { trust } = one.state;
  await server.admin('Authorities/RotateAuthorities', { kind: 'jwt' });
  await until(() => (one.state.trust?.sequence ?? 0) > trust!.sequence, 'the change');
  assert.ok(one.received.slice(1).every(({ taints }) => taints === null));
  assert.equal(two.state.trust!.jwtKeys.length, 2);
});

test('a root rotation waits for a control plane by name, also with a lying digest, until it confirms', async (context) => {
  const { server, control } = await meshOf(context);
  const { activeId } = rotationOf(server);
  const before = await activeId('root');
  const watcher = await watching(server, control, { instance: 'pod-0' });
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(
    async () =>
      watcher.roots.length === 2 &&
      (await laggardsOf(server)).join() === `control-plane ${controlId('istiod')} silent`,
    'it is the only one who has not confirmed',
  );
  watcher.report({ authoritySetDigest: randomBytes(32) });
  await until(
    async () => (await laggardsOf(server)).join().endsWith('behind'),
    'an unknown digest proves nothing',
  );
  watcher.report({ authoritySetDigest: Buffer.alloc(0) });
  await until(async () => (await laggardsOf(server)).join().endsWith('pending'));
  assert.equal(await activeId('root'), before);
  watcher.report();
  await until(async () => (await activeId('root')) !== before, 'it is confirmed');
});

test('with all holders named, a rotation waits for them and not for the ends of certificates', async (context) => {
  const { server, control } = await meshOf(context, {
    ...quickLives,
    issuance: { ...quickLives.issuance, maximumTtlSeconds: 3_600 },
  });
  const { activeId, inState } = rotationOf(server);
  const before = await activeId('root');
  await delegate(server, 'istiod', { maxTtlSeconds: 3_600 });
  const leaf = await unaryCall(
    server.client(control),
    sign,
    await itemFor('istiod', 'cart', { ttlSeconds: 3_600 }),
  );
  const watcher = await watching(server, control, { instance: 'pod-0' });
  const cart = { id: 'cart-1', spiffeId: leaf.spiffeId, state: 'pending' };
  watcher.report({ consumers: [cart] });
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(() => watcher.roots.length === 2);
  watcher.report({ consumers: [cart] });
  await until(
    async () => (await laggardsOf(server)).join() === `served ${leaf.spiffeId} pending`,
    'the workload is named',
  );
  const waiting = async () => (await inState('root', 'published'))!.confirmation!;
  assert.equal((await waiting()).inferredNeeded, 1, 'without the claim its leaf counts as well');
  watcher.report({ consumers: [cart], namesAllHolders: true });
  await until(async () => (await waiting()).inferredNeeded === 0);
  assert.equal(await activeId('root'), before);
  watcher.report({
    consumers: [{ ...cart, state: 'confirmed', authoritySetDigest: watcher.rootDigest() }],
    namesAllHolders: true,
  });
  await until(async () => (await activeId('root')) !== before, 'the workload has confirmed');
  assert.ok(Date.now() < leaf.notAfter * 1000, 'long before its certificate ends');
});

test('a control plane that was killed is absent by name, also after a restart of the server', async (context) => {
  const { server, control, agent } = await meshOf(context);
  const { activeId } = rotationOf(server);
  const before = await activeId('root');
  const first = await watching(server, control, { instance: 'pod-0' });
  first.report();
  first.stream.cancel();
  await first.code();
  const absent = `control-plane ${controlId('istiod')} absent`;
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(async () => (await laggardsOf(server)).includes(absent), 'it is absent');
  agent.disconnect();
  await server.restart();
  // the test's agent dials the port that it knows: another one would be needed for the rest
  await until(async () => (await laggardsOf(server)).includes(absent), 'the log has it');
  assert.equal(await activeId('root'), before);
  const again = await watching(server, control, { instance: 'pod-0' });
  await until(
    async () => (await laggardsOf(server)).includes(`control-plane ${controlId('istiod')} silent`),
    'it is back, and has told nothing yet',
  );
  again.report();
  await until(
    async () => !(await laggardsOf(server)).some((line) => line.startsWith('control-plane')),
    'it has confirmed',
  );
});

test('after a restart a root waits for each process of a control plane, until it leaves', async (context) => {
  const { server, control, agent } = await meshOf(context);
  const waitingFor = async (): Promise<string> =>
    ((await rotationOf(server).inState('root', 'published'))?.confirmation?.laggards ?? [])
      .filter(({ kind }) => kind === 'control-plane')
      .map(({ consumerId, state }) => `${consumerId} ${state}`)
      .join();
  for (const instance of ['pod-0', 'pod-1'])
    (await watching(server, control, { instance })).report();
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(async () => (await waitingFor()) === 'pod-0 behind,pod-1 behind');
  agent.disconnect();
  await server.restart();
  await until(async () => (await waitingFor()).includes('absent'), 'none of them is back');
  const [first, claim] = [await watching(server, control, { instance: 'pod-0' }), true];
  first.report({ namesAllHolders: claim });
  await until(async () => (await waitingFor()) === 'pod-1 silent', 'one does not speak for all');
  const second = await watching(server, control, { instance: 'pod-1' });
  second.report({ leaving: true });
  await until(async () => (await waitingFor()) === '', 'the other one has left');
  second.stream.end();
  await server.restart();
  await until(async () => (await waitingFor()) === 'pod-0 absent', 'that it left is on record');
});

test('a second stream of one process ends the first, and another process has its own', async (context) => {
  const { server, control } = await meshOf(context);
  const first = await watching(server, control, { instance: 'pod-0' });
  const second = await watching(server, control, { instance: 'pod-0' });
  assert.equal(await first.code(), 'WATCH_SUPERSEDED');
  const other = await watching(server, control, { instance: 'pod-1' });
  await until(() => other.roots.length === 1);
  assert.deepEqual([second.ended, other.ended], [false, false]);
});

test('after a taint it is told what to renew, until it has replaced it', async (context) => {
  const { server, control } = await meshOf(context);
  const { active, activeId } = rotationOf(server);
  const leaf = await unaryCall(server.client(control), sign, await itemFor('istiod', 'cart'));
  const watcher = await watching(server, control, { instance: 'pod-0' });
  watcher.report();
  const tainted = await activeId('issuing');
  assert.equal(leaf.authorityId, tainted);
  await server.admin('Authorities/TaintAuthority', { id: tainted, reason: 'a drill' });
  await until(() => watcher.state.taints?.authorities[0]?.authorityId === tainted);
  assert.deepEqual(watcher.state.renewNow, {
    ownCertificate: true,
    items: [{ authorityId: tainted, certificates: 1 }],
  });
  const { subjectKeyId } = (await rotationOf(server).byId(tainted)).authority;
  assert.equal(watcher.state.taints!.authorities[0]!.subjectKeyId.toString('hex'), subjectKeyId);
  assert.notEqual((await active('issuing')).id, tainted);
  watcher.report({ replacedSerials: [leaf.serial] });
  await until(() => watcher.state.renewNow?.items.length === 0, 'it has replaced it');
});

test('it is told which certificates were revoked, and goes on from where it was', async (context) => {
  const { server, control } = await meshOf(context);
  const issue = async () =>
    unaryCall(server.client(control), sign, await itemFor('istiod', 'cart'));
  const [first, second] = [await issue(), await issue()];
  const hello = { instance: 'pod-0', withReplacements: true };
  const watcher = await watching(server, control, hello);
  await until(() => watcher.state.replacements?.certificates.length === 0, 'nothing to replace');
  const revoke = (serial: string, reason: string) =>
    server.admin('Certificates/RevokeCertificate', { serial, reason });
  // both have one key, so that no reason may block it
  await revoke(first.serial, 'superseded');
  await until(() => watcher.state.replacements?.certificates.length === 1, 'the first one');
  const [told] = watcher.state.replacements!.certificates;
  assert.deepEqual(
    [told!.serial, told!.spiffeId, told!.why, told!.reason, told!.replacedBy],
    [first.serial, first.spiffeId, 'revoked', 'superseded', second.serial],
  );
  const { cursor } = watcher.state.replacements!;
  await revoke(second.serial, 'privilegeWithdrawn');
  const again = await watching(server, control, { ...hello, replacementsAfter: cursor });
  assert.equal(await watcher.code(), 'WATCH_SUPERSEDED');
  const serials = () =>
    again.received.flatMap(({ replacements }) => replacements?.certificates ?? []);
  await until(() => serials().some(({ serial }) => serial === second.serial), 'the second one');
  assert.ok(serials().every(({ serial }) => [first.serial, second.serial].includes(serial)));
});

test('a report that makes no sense, and a revoked delegation, end the stream', async (context) => {
  const { server, control, delegationId } = await meshOf(context);
  for (const report of [
    { authoritySetDigest: Buffer.from('short') },
    { consumers: [{ id: 'a', spiffeId: 'no-id', state: 'confirmed' }] },
    { consumers: [{ id: 'a', spiffeId: 'spiffe://mesh.test/a', state: 'fine' }] },
    { replacedSerials: ['XYZ'] },
  ]) {
    const watcher = await watching(server, control, { instance: 'pod-0' });
    watcher.report(report);
    assert.match(await watcher.code(), /^(INVALID_REQUEST|SPIFFE_ID_INVALID)$/);
  }
  const nameless = new Watcher(server.client(control), { instance: 'a b' });
  assert.equal(await nameless.code(), 'INVALID_REQUEST');
  const idle = await watching(server, control, { instance: 'pod-0' });
  await server.admin('Delegations/RevokeDelegation', { id: delegationId });
  assert.equal(await idle.code(), 'CALLER_NOT_ADMITTED');
});

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { certificatesToPem, sha256Hex } from '../../../src/common/x509/index.ts';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat, type AgentSeat } from '../../support/agent-seat.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('an agent with a lost or damaged bundle or checkpoint recovers by itself, and its return is on record', async (context) => {
  const server = await startTestServer();
  defer(context, () => server[Symbol.asyncDispose]());
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  const seat = await agentSeat(server, { joinToken: { token } });
  defer(context, () => seat[Symbol.asyncDispose]());
  const bundleFile = join(seat.dataDir, 'bundle.json');
  const checkpointFile = join(seat.dataDir, 'log-checkpoint');
  const told = async (): Promise<string> => {
    const { records } = await server.admin('Audit/ListAuditRecords', {
      subject: agentId,
      kind: 'agent.state-lost',
    });
    return records.map(({ canonical }) => canonical.toString()).join('\n');
  };
  const svid = async () =>
    JSON.parse(await seat.state('agent-svid.json')) as Record<string, unknown>;
  const returns = async (): Promise<void> => {
    await seat.start();
    await seat.connected();
    await until(
      async () => 'keys' in (JSON.parse(await seat.state('bundle.json')) as object),
      'the bundle on the disk',
    );
    assert.ok((seat.agent.status().bundleSequence as number) > 0);
    await seat.stop();
  };
  await returns();
  assert.equal(await told(), '');

  await writeFile(bundleFile, '{');
  await returns();
  await until(async () => (await told()).includes('bundle.json: damaged'), 'the first return');

  await rm(bundleFile);
  await writeFile(checkpointFile, 'no note', { mode: 0o600 });
  await returns();
  await until(async () => (await told()).includes('bundle.json: missing'), 'the second return');
  assert.ok((await told()).includes('log-checkpoint: damaged'));

  // as an earlier release wrote it: the fingerprint of the configuration brings it back
  const { bundle, ...before } = await svid();
  assert.equal(typeof bundle, 'string');
  await writeFile(join(seat.dataDir, 'agent-svid.json'), JSON.stringify(before));
  await rm(bundleFile);
  await returns();
  assert.equal(typeof (await svid())['bundle'], 'string');
});

/** A server, and a node that joined with this bootstrap and was stopped. */
async function joined(
  context: TestContext,
  bootstrapOf: (rootsDer: readonly Buffer[]) => object | Promise<object>,
) {
  const server = await startTestServer();
  defer(context, () => server[Symbol.asyncDispose]());
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  const bootstrap = await bootstrapOf(server.rootsDer);
  const seat = await agentSeat(server, { joinToken: { token } }, { bootstrap });
  defer(context, () => seat[Symbol.asyncDispose]());
  const starts = async (): Promise<void> => {
    await seat.start();
    await seat.connected();
    await seat.stop();
  };
  await starts();
  const told = async (): Promise<number> => {
    const { records } = await server.admin('Audit/ListAuditRecords', {
      subject: agentId,
      kind: 'agent.state-lost',
    });
    return records.filter(({ canonical }) => canonical.includes('bundle.json')).length;
  };
  return { server, seat, starts, told, bundleFile: join(seat.dataDir, 'bundle.json') };
}

/** As an earlier release wrote the SVID: without a bundle beside it. */
async function withoutCopy(seat: AgentSeat): Promise<void> {
  const { bundle, ...before } = JSON.parse(await seat.state('agent-svid.json')) as {
    readonly bundle: unknown;
  };
  assert.equal(typeof bundle, 'string');
  await writeFile(join(seat.dataDir, 'agent-svid.json'), JSON.stringify(before));
}

async function pemOf(context: TestContext, rootsDer: readonly Buffer[]): Promise<object> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-lost-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const bundlePath = join(directory, 'roots.pem');
  await writeFile(bundlePath, certificatesToPem(rootsDer));
  return { bundlePath };
}

test('with a bundle file configured, an agent whose bundle is lost returns, which is on record', async (context) => {
  const { seat, starts, told, ...node } = await joined(context, (rootsDer) =>
    pemOf(context, rootsDer),
  );
  const returned = async (times: number): Promise<void> => {
    await starts();
    assert.equal(await told(), times);
    assert.ok('meshca_issuers' in (JSON.parse(await seat.state('bundle.json')) as object));
  };
  await rm(node.bundleFile);
  await returned(1);
  await writeFile(node.bundleFile, '{');
  await returned(2);
  await withoutCopy(seat);
  await rm(node.bundleFile);
  await returned(3);
  await withoutCopy(seat);
  await writeFile(node.bundleFile, '{');
  await returned(4);
  await starts();
  assert.equal(await told(), 4, 'once for each loss');
});

test('a return is told at the next hello, also by an agent that ended before it could say hello', async (context) => {
  const { server, seat, told } = await joined(context, ([root]) => ({
    rootFingerprint: sha256Hex(root as Buffer),
  }));
  const nobody = `127.0.0.1:${await freePort()}`;
  const bundleOf = ({ dataDir }: AgentSeat): string => join(dataDir, 'bundle.json');
  const missing = (at: AgentSeat) => rm(bundleOf(at));
  const damaged = (at: AgentSeat) => writeFile(bundleOf(at), '{', { mode: 0o600 });
  const ways: readonly ((at: AgentSeat) => Promise<void>)[] = [
    missing,
    damaged,
    (at) => withoutCopy(at).then(() => missing(at)),
    (at) => withoutCopy(at).then(() => damaged(at)),
  ];
  let from = seat.dataDir;
  for (const [index, way] of ways.entries()) {
    const cut = await agentSeat(server, {}, { address: nobody, dataFrom: from });
    defer(context, () => cut[Symbol.asyncDispose]());
    await way(cut);
    await cut.start();
    await cut.stop();
    const back = await agentSeat(server, {}, { dataFrom: cut.dataDir });
    defer(context, () => back[Symbol.asyncDispose]());
    await back.start();
    await back.connected();
    await back.stop();
    assert.equal(await told(), index + 1);
    from = back.dataDir;
  }
  const again = await agentSeat(server, {}, { dataFrom: from });
  defer(context, () => again[Symbol.asyncDispose]());
  await again.start();
  await again.connected();
  assert.equal(await told(), ways.length, 'what was told is not told again');
});

test('a configured fingerprint that is stale hinders no return with the copy, and is named without it', async (context) => {
  const stale = 'ab'.repeat(32);
  const { server, seat } = await joined(context, ([root]) => ({
    rootFingerprint: sha256Hex(root as Buffer),
  }));
  const later = await agentSeat(
    server,
    {},
    { bootstrap: { rootFingerprint: stale }, dataFrom: seat.dataDir },
  );
  defer(context, () => later[Symbol.asyncDispose]());
  await rm(join(later.dataDir, 'bundle.json'));
  await later.start();
  await later.connected();
  await later.stop();
  await withoutCopy(later);
  await rm(join(later.dataDir, 'bundle.json'));
  await later.start();
  const said = (): string => later.agent.status().lastError ?? '';
  await until(() => said().startsWith('SERVER_UNTRUSTED'), 'the refusal');
  assert.match(said(), new RegExp(`bootstrap.rootFingerprint: ${stale}`));
});

test('an agent that has joined believes nobody without proof when its bundle is lost', async (context) => {
  const { seat, starts, told, ...node } = await joined(context, () => ({
    insecureBootstrap: true,
  }));
  await rm(node.bundleFile);
  await starts();
  assert.equal(await told(), 1, 'with the copy it returns');
  await withoutCopy(seat);
  for (const destroy of [
    () => rm(node.bundleFile),
    () => writeFile(node.bundleFile, '{', { mode: 0o600 }),
  ]) {
    await destroy();
    await assert.rejects(seat.start(), { code: 'STATE_CORRUPT' });
  }
});

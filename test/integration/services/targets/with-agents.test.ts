import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { agentSeat, type AgentSeat } from '../../../support/agent-seat.ts';
import { runCommand, type CommandEnd } from '../../../support/command.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

// real agents, whose targets tell a program of each set

const stack = new AsyncDisposableStack();
let server: TestServer;
let folder: string;
/** While it exists, no set but the first one is taken. */
let broken: string;

interface Node {
  readonly name: string;
  readonly agentId: string;
  readonly entryId: string;
  readonly directory: string;
  readonly seat: AgentSeat;
}
const nodes: Node[] = [];

before(async () => {
  server = stack.use(await startTestServer());
  folder = await realpath(await mkdtemp(join(tmpdir(), 'meshca-targets-')));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  broken = join(folder, 'broken');
  for (const name of ['edge-a', 'edge-b', 'edge-c']) nodes.push(await startNode(name));
  for (const node of nodes) await until(async () => (await stateOf(node)) === 'applied', node.name);
});
after(() => stack.disposeAsync());

async function startNode(name: string): Promise<Node> {
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: name });
  const directory = join(folder, name);
  await mkdir(directory, { mode: 0o755 });
  const reload = `case "$MESHCA_SET" in 1-*) exit 0;; esac; ! test -e ${broken}`;
  const seat = stack.use(
    await agentSeat(
      server,
      { joinToken: { token } },
      {
        sections: {
          targets: [
            {
              ...{ name: 'web', directory },
              driver: { type: 'command', reload: ['/bin/sh', '-c', reload] },
              rollout: { group: 'edge', canaryShare: 0.1, observeSeconds: 0 },
            },
          ],
        },
      },
    ),
  );
  await seat.start();
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      { spiffeId: 'spiffe://mesh.test/web', parentId: agentId, selectors: ['target:name:web'] },
    ],
  });
  const entryId = results[0]?.entry?.id ?? '';
  return { name, agentId, entryId, directory, seat };
}

async function reported({ agentId }: Node) {
  const { targets } = await server.admin('Targets/ListTargets', { agentId, target: 'web' });
  return targets[0];
}
async function stateOf(node: Node): Promise<string | undefined> {
  const target = await reported(node);
  return target?.connected === true ? target.state : undefined;
}
const servedSet = async (node: Node): Promise<string> =>
  (await reported(node))?.sets.find(({ current }) => current)?.name.split('-')[0] ?? '';
const hold = async (): Promise<string | undefined> =>
  (await server.admin('Targets/ListTargets', { group: 'edge' })).groups[0]?.hold;
const run = (...args: readonly string[]): Promise<CommandEnd> =>
  runCommand(server, ['set', ...args]);

/** Each agent obtains a new set, since its entry changed. */
async function changeEntries(dnsName: string): Promise<void> {
  for (const { entryId } of nodes) {
    const entry = await server.admin('Entries/GetEntry', { id: entryId });
    await server.admin('Entries/UpdateEntry', { entry: { ...entry, dnsNames: [dnsName] } });
  }
}

test('a set that the first server refuses goes to no other, until it is taken', async () => {
  await writeFile(broken, '');
  await changeEntries('one.mesh.test');
  await until(async () => (await hold()) === 'canary', 'the group is held');
  const waiting = async (): Promise<number> => {
    const { targets } = await server.admin('Targets/ListTargets', { group: 'edge' });
    return targets.filter(({ waitsFor }) => waitsFor === 'turn').length;
  };
  await until(async () => (await waiting()) === 2, 'the others have their sets, and wait');
  for (const node of nodes) assert.equal(await servedSet(node), '1', node.name);
  const { out } = await run('list', '--group', 'edge');
  assert.match(out, /group edge: HELD[^]*web on edge-[abc], set 2: DRIVER_FAILED/);

  await rm(broken);
  const canary = /web on (edge-[abc]), set 2: DRIVER_FAILED/.exec(out)?.[1] as string;
  const promoted = await run('promote', 'web', '--agent', canary);
  // it may have tried again by itself in this moment
  if (promoted.code !== 0) assert.match(promoted.err, /CONFLICT/);
  for (const node of nodes)
    await until(async () => (await servedSet(node)) === '2', `the second set at ${node.name}`);
  await until(async () => (await hold()) === undefined, 'the rollout is over');
});

test('an operator stages, promotes and rolls back at a real agent', async () => {
  const [node] = nodes as [Node];
  const at = ['web', '--agent', node.name];
  const staged = await run('stage', ...at);
  assert.deepEqual([staged.code, staged.err], [0, '']);
  assert.match(staged.out, /staged, serves set 2 .*; set 3 is staged/);
  assert.match((await run('list', '--agent', node.name)).out, /waits for a hand/);
  const promoted = await run('promote', ...at, '--reason', 'change 4711');
  assert.match(promoted.out, /: applied, serves set 3 /);
  const served = await readFile(join(node.directory, 'current', 'cert.pem'), 'utf8');
  const back = await run('rollback', ...at);
  assert.match(back.out, /: rolled-back, serves set 2 /);
  assert.notEqual(await readFile(join(node.directory, 'current', 'cert.pem'), 'utf8'), served);
  const records = await runCommand(server, ['audit', 'list', '--kind', 'target.*', '--json']);
  assert.match(records.out, /change 4711/);
  // taken back by hand, it stays so: the group of those that wait does not have it
  assert.match((await run('promote', '--group', 'edge')).out, /nothing waits in the group edge/);
});

test('an agent that is away is shown with what it said last', async () => {
  const [, node] = nodes as [Node, Node];
  await node.seat.stop();
  await until(async () => (await reported(node))?.connected === false, 'it is away');
  assert.match((await run('list', '--agent', node.name)).out, /applied \(away\)/);
  const { code, err } = await run('stage', 'web', '--agent', node.name);
  assert.deepEqual([code, /AGENT_NOT_CONNECTED/.test(err)], [5, true]);
  await node.seat.start();
  await until(async () => (await stateOf(node)) === 'applied', 'it is back');
});

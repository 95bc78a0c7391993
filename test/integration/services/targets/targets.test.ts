import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { runCommand, type CommandEnd } from '../../../support/command.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';
import { codeOf, startTestServer, untypedCall, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server?.[Symbol.asyncDispose]());

const eventually = (what: string, is: () => boolean | Promise<boolean>) => until(is, what);

const agents: SimAgent[] = [];
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent[Symbol.asyncDispose]();
});
let joined = 0;
async function join(consumers: readonly string[] = []): Promise<SimAgent> {
  joined += 1;
  const agent = await SimAgent.join(simServer(server), `files-${joined}`, consumers);
  agents.push(agent);
  return agent;
}

const run = (...args: readonly string[]): Promise<CommandEnd> =>
  runCommand(server, ['set', ...args]);

const listed = async (filter: object = {}) => server.admin('Targets/ListTargets', filter);
const stateOf = async (agent: SimAgent, target: string): Promise<string | undefined> => {
  const { targets } = await listed({ agentId: agent.credential.spiffeId, target });
  return targets[0]?.connected === true ? targets[0].state : undefined;
};
/** Records about this agent, oldest first. */
async function records(agent: SimAgent): Promise<readonly (readonly [string, string, unknown])[]> {
  const args = ['audit', 'list', '--kind', 'target.*', '--json'];
  const { out } = await runCommand(server, args);
  const all = JSON.parse(out) as readonly {
    readonly sequence: number;
    readonly kind: string;
    readonly actor: string;
    readonly subject: string;
    readonly detail: Readonly<Record<string, unknown>>;
  }[];
  return all
    .filter(({ subject }) => subject === agent.credential.spiffeId)
    .toSorted((a, b) => a.sequence - b.sequence)
    .map(({ kind, detail }) => [
      kind,
      `${String(detail['act'])} ${String(detail['target'])}`,
      detail['code'] ?? detail['reason'],
    ]);
}

test('an operator stages, promotes and rolls back a target of an agent, on record', async () => {
  const agent = await join();
  agent.targets.add('web', undefined, 'hand');
  const name = agent.name;
  await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');

  assert.match((await run('list')).out, /web +\S+ +proven/);
  const staged = await run('stage', 'web', '--agent', name, '--reason', 'change 7');
  assert.deepEqual([staged.code, staged.err], [0, '']);
  assert.match(staged.out, /^web on files-\d+: staged, serves set 1 \(a000\); set 2 is staged\n$/);
  assert.match((await run('list')).out, /waits for a hand/);
  const promoted = await run('promote', 'web');
  assert.match(promoted.out, /^web on files-\d+: proven, serves set 2 \(a001\)\n$/);
  const back = await run('rollback', 'web', '--agent', agent.credential.spiffeId);
  assert.match(back.out, /rolled-back, serves set 1 \(a000\)\n$/);
  assert.deepEqual(agent.targets.asked, ['stage web', 'promote web', 'rollback web']);
  assert.deepEqual(await records(agent), [
    ['target.commanded', 'stage web', 'change 7'],
    ['target.answered', 'stage web', ''],
    ['target.commanded', 'promote web', ''],
    ['target.answered', 'promote web', ''],
    ['target.commanded', 'rollback web', ''],
    ['target.answered', 'rollback web', ''],
  ]);

  const unknown = await run('promote', 'mail', '--agent', name);
  assert.equal(unknown.code, 3);
  assert.match(unknown.err, /TARGET_UNKNOWN[^]*meshca set list/);
  const spiffeId = agent.credential.spiffeId;
  const call = server.admin('Targets/PromoteTargets', { agentId: spiffeId, target: 'mail' });
  assert.equal(await codeOf(call), 'TARGET_UNKNOWN');
});

test('what the agent refuses is shown with its own code, and is on record', async () => {
  const agent = await join();
  agent.targets.add('db');
  await eventually('it is told', async () => (await stateOf(agent, 'db')) === 'proven');
  const { code, err } = await run('rollback', 'db', '--agent', agent.name);
  assert.equal(code, 6);
  assert.match(err, /error CONFLICT: there is no set before/);
  assert.deepEqual((await records(agent)).at(-1), ['target.answered', 'rollback db', 'CONFLICT']);
});

test('an agent that is away or goes away is named, and a command works once it is back', async () => {
  const agent = await join();
  agent.targets.add('web', undefined, 'hand');
  await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
  unwrap(await agent.targets.stage('web'));
  await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'staged');

  const gate = Promise.withResolvers<void>();
  agent.targets.gate = gate.promise;
  const request = { agentId: agent.credential.spiffeId, target: 'web' };
  const broken = codeOf(server.admin('Targets/PromoteTargets', request));
  await eventually('it has begun', async () => (await stateOf(agent, 'web')) === 'proving');
  agent.disconnect();
  assert.equal(await broken, 'AGENT_NOT_CONNECTED');
  assert.deepEqual((await records(agent)).at(-1)?.[2], 'AGENT_NOT_CONNECTED');
  const away = await run('promote', 'web', '--agent', agent.name);
  assert.equal(away.code, 5);
  assert.match(away.err, /AGENT_NOT_CONNECTED[^]*meshca agent list/);
  assert.match((await run('list', '--agent', agent.name)).out, /proving \(away\)/);

  gate.resolve();
  agent.connect();
  await eventually('it is back', async () => (await stateOf(agent, 'web')) === 'proven');
  assert.equal((await run('rollback', 'web', '--agent', agent.name)).code, 0);
});

test('an agent of an older release reports nothing, and what was known of it is forgotten', async () => {
  const agent = await join();
  agent.targets.add('web');
  await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
  agent.disconnect();
  agent.withoutTargets = true;
  agent.connect();
  const filter = { agentId: agent.credential.spiffeId };
  await eventually('it is gone', async () => (await listed(filter)).targets.length === 0);
});

test('an agent that reports nonsense loses its session, and nobody else is disturbed', async () => {
  const [liar, honest] = [await join(), await join()];
  for (const agent of [liar, honest]) {
    agent.targets.add('web');
    await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
  }
  liar.targets.add('../../etc');
  await eventually('its session is over', async () => (await stateOf(liar, 'web')) === undefined);
  const { targets } = await listed({ agentId: liar.credential.spiffeId });
  assert.deepEqual(
    targets.map(({ name, connected }) => [name, connected]),
    [['web', false]],
  );
  assert.equal(await stateOf(honest, 'web'), 'proven');
  liar.targets.remove('../../etc');
  await eventually('it comes back', async () => (await stateOf(liar, 'web')) === 'proven');
});

test('a banned agent has no targets any more', async () => {
  const agent = await join();
  agent.targets.add('web');
  await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
  const spiffeId = agent.credential.spiffeId;
  await server.admin('Agents/BanAgent', { spiffeId, reason: 'a test' });
  assert.deepEqual((await listed({ agentId: spiffeId })).targets, []);
});

test('operators see and change the targets of the agents that their roles cover', async () => {
  const [mine, other] = [await join(), await join()];
  for (const agent of [mine, other]) agent.targets.add('web');
  for (const agent of [mine, other])
    await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
  const admin = await server.mint('spiffe://mesh.test/ops/files', { admin: true });
  const [reader, changer] = ['target.read', 'target.change'];
  const put = (name: string, verb: string | undefined, prefix: string) =>
    server.admin('Roles/PutRole', {
      role: { name, verbs: [verb ?? ''], prefixes: [prefix], members: [admin.spiffeId] },
    });
  const client = server.client(admin);
  const call = (method: string, request: object) =>
    untypedCall(client, `/meshca.admin.v1.Targets/${method}`, request);
  const stage = (agent: SimAgent) =>
    codeOf(call('StageTargets', { agentId: agent.credential.spiffeId, target: 'web' }));

  assert.equal(await codeOf(call('ListTargets', {})), 'ROLE_MISSING');
  await put('file-readers', reader, mine.credential.spiffeId);
  const { targets } = (await call('ListTargets', {})) as {
    readonly targets: readonly { readonly agentId: string }[];
  };
  assert.deepEqual(
    targets.map(({ agentId }) => agentId),
    [mine.credential.spiffeId],
  );
  assert.equal(await stage(mine), 'ROLE_MISSING');
  await put('file-changers', changer, mine.credential.spiffeId);
  assert.equal(await stage(mine), 'resolved');
  assert.equal(await stage(other), 'ROLE_MISSING');
  client.close();
});

describe('a rollout over a group', () => {
  const rollout = { group: '', canaryShare: 0.1, observeSeconds: 0 };
  /** Three agents with a target `web` in one group. */
  async function group(name: string, observeSeconds = 0): Promise<readonly SimAgent[]> {
    const three = [await join(), await join(), await join()];
    for (const agent of three)
      agent.targets.add('web', { ...rollout, group: name, observeSeconds });
    for (const agent of three)
      await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
    return three;
  }
  const turns = (agent: SimAgent): number =>
    agent.targets.asked.filter((text) => text.startsWith('turn ')).length;
  const groupOf = async (name: string) =>
    (await listed({ group: name })).groups.find((each) => each.name === name);

  test('gives one target its turn first, and the rest once it is proven', async () => {
    const three = await group('edge-1');
    const gate = Promise.withResolvers<void>();
    for (const agent of three) {
      agent.targets.gate = gate.promise;
      unwrap(await agent.targets.stage('web'));
    }
    await eventually(
      'one has its turn',
      () => three.reduce((sum, one) => sum + turns(one), 0) === 1,
    );
    await eventually('the others wait', async () => (await groupOf('edge-1'))?.hold === 'proving');
    assert.match((await run('list', '--group', 'edge-1')).out, /waits for its turn/);
    assert.equal(
      three.reduce((sum, one) => sum + turns(one), 0),
      1,
    );
    gate.resolve();
    await eventually('all had their turn', () => three.every((one) => turns(one) === 1));
    await eventually('it is over', async () => (await groupOf('edge-1')) === undefined);
  });

  test('a canary that goes back holds the rest and is named, until an operator promotes', async () => {
    const three = await group('edge-2');
    for (const agent of three) agent.targets.bad.add('web');
    for (const agent of three) unwrap(await agent.targets.stage('web'));
    await eventually('it is held', async () => (await groupOf('edge-2'))?.hold === 'canary');
    const canary = three.find((agent) => turns(agent) === 1) as SimAgent;
    assert.equal(three.filter((agent) => turns(agent) > 0).length, 1);
    const { out } = await run('list', '--group', 'edge-2');
    assert.match(out, /group edge-2: HELD/);
    assert.match(out, new RegExp(`web on ${canary.name}, set 2: PROOF_MISSING`));
    const metrics = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
    assert.match(
      metrics,
      new RegExp(
        `meshca_target_rollout_held\\{group="edge-2",agent="${canary.credential.spiffeId}",target="web",code="PROOF_MISSING"\\} 1`,
      ),
    );
    assert.match(metrics, /meshca_targets\{state="rolled-back"\} 1/);

    for (const agent of three) agent.targets.bad.delete('web');
    const { code, out: done } = await run('promote', '--group', 'edge-2');
    assert.equal(code, 0);
    assert.equal(done.match(/: proven, serves set 2 /g)?.length, 2);
    await eventually('it is over', async () => (await groupOf('edge-2')) === undefined);
  });

  test('a new set of the canary that failed begins anew, with it first', async () => {
    const three = await group('edge-3');
    for (const agent of three) agent.targets.bad.add('web');
    for (const agent of three) unwrap(await agent.targets.stage('web'));
    await eventually('it is held', async () => (await groupOf('edge-3'))?.hold === 'canary');
    const canary = three.find((agent) => turns(agent) === 1) as SimAgent;
    for (const agent of three) agent.targets.bad.delete('web');
    unwrap(await canary.targets.stage('web'));
    await eventually('all had their turn', () => three.every((one) => turns(one) >= 1));
    assert.equal(turns(canary), 2);
    await eventually('it is over', async () => (await groupOf('edge-3')) === undefined);
  });

  test('a server that restarts holds a group by what the agent tells of its turn', async () => {
    const three = await group('edge-4');
    for (const agent of three) agent.targets.bad.add('web');
    for (const agent of three) unwrap(await agent.targets.stage('web'));
    await eventually('it is held', async () => (await groupOf('edge-4'))?.hold === 'canary');
    for (const agent of three) agent.disconnect();
    await server.restart();
    const before = three.map(turns);
    // the canary first, so that nobody else can be taken for one
    const canary = three.find((agent) => turns(agent) === 1) as SimAgent;
    canary.follow(server.server);
    await eventually('it is back', async () => (await stateOf(canary, 'web')) === 'rolled-back');
    for (const agent of three) if (agent !== canary) agent.follow(server.server);
    for (const agent of three)
      await eventually('it is back', async () => (await stateOf(agent, 'web')) !== undefined);
    await eventually('it is held', async () => (await groupOf('edge-4'))?.hold === 'canary');
    assert.deepEqual(three.map(turns), before);
    // they are as bad as the first: each goes back
    const answered = await run('promote', '--group', 'edge-4');
    assert.deepEqual([answered.code, /rolled-back[^]*PROOF_MISSING/.test(answered.out)], [1, true]);
  });

  test('the rest waits for the time of observation', async () => {
    const three = await group('edge-5', 3600);
    for (const agent of three) unwrap(await agent.targets.stage('web'));
    await eventually('it is observed', async () => (await groupOf('edge-5'))?.hold === 'observing');
    assert.equal(three.filter((agent) => turns(agent) > 0).length, 1);
    assert.match((await run('list', '--group', 'edge-5')).out, /is watched until/);
    assert.equal((await run('promote', '--group', 'edge-5')).code, 0);
    for (const agent of three)
      await eventually('all serve', async () => (await stateOf(agent, 'web')) === 'proven');
  });

  test('handshakes that fail more than before hold the rest, and who sees them is named', async () => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', {});
    const { subjectKeyId } = authorities.find(
      ({ kind, state }) => kind === 'issuing' && state === 'active',
    ) as { readonly subjectKeyId: string };
    const three = [await join(['web']), await join(['web']), await join(['web'])];
    const tell = (failed: number): void => {
      for (const agent of three) agent.reportHandshakes(subjectKeyId, 100, failed);
    };
    tell(0);
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: three.map(({ name, credential }) => ({
        spiffeId: `spiffe://mesh.test/${name}`,
        parentId: credential.spiffeId,
        selectors: ['unix:uid:1'],
      })),
    });
    for (const agent of three)
      agent.targets.add('web', { ...rollout, group: 'edge-6', observeSeconds: 3600 });
    for (const [index, agent] of three.entries()) {
      await eventually('it is told', async () => (await stateOf(agent, 'web')) === 'proven');
      const leaf = await agent.renew(results[index]?.entry?.id as string);
      agent.targets.nextSerial = () => leaf.serial;
      unwrap(await agent.targets.stage('web'));
    }
    await eventually('it is observed', async () => (await groupOf('edge-6'))?.hold === 'observing');
    tell(50);
    await eventually('it is held', async () => (await groupOf('edge-6'))?.hold === 'handshakes');
    const { out } = await run('list', '--group', 'edge-6');
    assert.match(out, /group edge-6: HELD, more handshakes fail/);
    assert.match(out, new RegExp(`seen by ${three[0]?.credential.spiffeId ?? ''}`));
    assert.equal(three.filter((agent) => turns(agent) > 0).length, 1);
    assert.equal((await run('promote', '--group', 'edge-6')).code, 0);
  });

  test('a group that nobody reports is unknown', async () => {
    const { code, err } = await run('promote', '--group', 'nowhere');
    assert.equal(code, 3);
    assert.match(err, /TARGET_UNKNOWN/);
  });
});

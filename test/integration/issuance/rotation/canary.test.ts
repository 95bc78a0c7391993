import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { eventually, quickLives, rotationOf } from '../../../support/mesh.ts';
import { attestByToken, startTestServer, type TestServer } from '../../../support/server.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';

interface Mesh {
  readonly server: TestServer;
  readonly agents: readonly SimAgent[];
  /** Each agent asks for a leaf; the ones whose leaf comes from this authority. */
  under(authorityId: string): Promise<readonly string[]>;
}

const slow = { ...quickLives, issuance: { ...quickLives.issuance, defaultTtlSeconds: 60 } };

async function mesh(
  context: TestContext,
  count: number,
  {
    selectorsOf = () => [],
    step,
  }: {
    readonly selectorsOf?: (index: number) => readonly string[];
    readonly step?: (name: string) => void;
  } = {},
): Promise<Mesh> {
  const server = await startTestServer({
    config: slow,
    ...(step === undefined ? {} : { faults: { step } }),
  });
  context.after(() => server[Symbol.asyncDispose]());
  const agents = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const joining = {
        ...simServer(server),
        joinAgent: async (agentName: string) =>
          attestByToken(
            server.client(),
            (
              await server.admin('Tokens/CreateJoinToken', {
                agentName,
                nodeSelectors: [...selectorsOf(index)],
              })
            ).token,
          ),
      };
      return SimAgent.join(joining, `node-${index}`, ['web']);
    }),
  );
  context.after(() => Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]())));
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: agents.map(({ name, credential }) => ({
      spiffeId: `spiffe://mesh.test/${name}`,
      parentId: credential.spiffeId,
      selectors: ['unix:uid:1'],
    })),
  });
  const entryIds = results.map(({ entry }) => entry!.id as string);
  return {
    server,
    agents,
    under: async (authorityId) => {
      const leaves = await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index]!)));
      return agents
        .filter((_, index) => leaves[index]?.authorityId === authorityId)
        .map(({ name }) => name);
    },
  };
}

const insideShare = ({ credential }: SimAgent, share: number): boolean =>
  Number.parseInt(createHash('sha256').update(credential.spiffeId).digest('hex').slice(0, 8), 16) /
    2 ** 32 <
  share;
const codesOf = async (server: TestServer): Promise<readonly string[]> =>
  (await server.admin('Authorities/GetRotationStatus')).notes.map(({ code }) => code);

/**
 * One agent confirms last, and has reported failed handshakes before: from its first moment on the
 * new one is held where it begins.
 */
async function begin(
  { server, agents }: Mesh,
  steps: readonly object[],
  holdSeconds: number,
): Promise<any> {
  const { status, activeId } = rotationOf(server);
  const before = await activeId('issuing');
  const reporter = agents[0] as SimAgent;
  reporter.freeze();
  await server.admin('Authorities/RotateAuthorities', {
    kind: 'issuing',
    canary: { steps: [...steps], holdSeconds, maximumFailureRate: 0.05 },
  });
  await eventually('only that one has not confirmed', async () => {
    const published = (await status()).authorities.find(
      ({ authority }) => authority!.kind === 'issuing' && authority!.state === 'published',
    );
    if (published?.confirmation?.laggardsTotal !== 1) return false;
    reporter.reportHandshakes(published.authority!.subjectKeyId, 80, 20);
    reporter.thaw();
    return true;
  });
  let canary: any;
  await eventually('the new intermediate signs for a part', async () => {
    canary = (await status()).authorities.find(
      ({ authority }) =>
        authority!.kind === 'issuing' && authority!.state === 'active' && authority!.id !== before,
    )?.authority;
    return canary !== undefined;
  });
  return canary;
}

test('failed handshakes hold a new intermediate at its share of the nodes until they end', async (context) => {
  const world = await mesh(context, 12);
  const { server, agents, under } = world;
  const share = 0.4;
  const canary = await begin(world, [{ share }], 2);
  const inside = agents.filter((agent) => insideShare(agent, share)).map(({ name }) => name);
  assert.ok(inside.length > 0 && inside.length < agents.length);
  assert.deepEqual(await under(canary.id), inside);
  await eventually(
    'the time is over in which it is watched',
    async () => (await rotationOf(server).status()).at > canary.activatedAt + 4,
  );
  assert.ok((await codesOf(server)).includes('CANARY_FAILING'));
  assert.deepEqual(await under(canary.id), inside);
  // the newest report of a consumer counts
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
  await eventually(
    'the rotation is over',
    async () => (await rotationOf(server).status()).operations.length === 0,
  );
});

test('a new intermediate signs first for nodes with a selector, and then for the rest', async (context) => {
  const world = await mesh(context, 6, {
    selectorsOf: (index) => (index < 2 ? ['zone:canary'] : []),
  });
  const { agents, under } = world;
  const canary = await begin(world, [{ selectors: ['zone:canary'] }], 3);
  assert.deepEqual(await under(canary.id), ['node-0', 'node-1']);
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
});

test('failed renewals hold a new intermediate at its share of the nodes until they end', async (context) => {
  // between signature and record it is, for an instant, one that may not sign: what it signed is
  // withheld, and the others go on
  let broken = '';
  let path = '';
  const state = (name: string): void => {
    const database = new DatabaseSync(path, { timeout: 10_000 });
    database.prepare('UPDATE authorities SET state = ? WHERE id = ?').run(name, broken);
    database.close();
  };
  const world = await mesh(context, 8, {
    step: (name) => {
      if (broken !== '' && name === 'signed') state('tainted');
      if (broken !== '' && name === 'recorded') state('active');
    },
  });
  const { server, agents, under } = world;
  path = join(server.dir, 'data', 'meshca.db');
  const share = 0.5;
  const holdSeconds = 3;
  const canary = await begin(world, [{ share }], holdSeconds);
  const inside = agents.filter((agent) => insideShare(agent, share));
  assert.ok(inside.length > 0 && inside.length < agents.length);
  broken = canary.id;
  const entryIds = new Map<string, string>(
    (await server.admin('Entries/ListEntries', { page: { size: 100 } })).entries.map(
      ({ parentId, id }) => [parentId, id],
    ),
  );
  for (const agent of agents) {
    const renewed = await agent.renew(entryIds.get(agent.credential.spiffeId) as string).then(
      ({ authorityId }) => authorityId,
      (error: Error) => error.message,
    );
    if (inside.includes(agent)) assert.match(renewed, /INTERNAL|OBJECT_NOT_IN_LOG/);
    else assert.notEqual(renewed, canary.id);
  }
  broken = '';
  // handshakes are well: what holds it now is what came of its certificates
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually('it is held for that', async () =>
    (await codesOf(server)).includes('CANARY_RENEWALS'),
  );
  await eventually(
    'the time is over in which it is watched',
    async () => (await rotationOf(server).status()).at > canary.activatedAt + holdSeconds + 2,
  );
  const held = (await rotationOf(server).byId(canary.id)).authority;
  assert.deepEqual([held!.state, JSON.parse(held!.scopeJson)], ['active', { share }]);
  assert.ok((await codesOf(server)).includes('CANARY_RENEWALS'));
  // enough good ones, and it is no worse than is accepted
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
  await eventually(
    'the rotation is over',
    async () => (await rotationOf(server).status()).operations.length === 0,
  );
});

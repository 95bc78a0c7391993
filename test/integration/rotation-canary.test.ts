import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { eventually, quickLives, rotationOf } from '../support/mesh.ts';
import { attestByToken, startTestServer, type TestServer } from '../support/server.ts';
import { SimAgent, simServer } from '../support/sim-agent.ts';

interface Mesh {
  readonly server: TestServer;
  readonly agents: readonly SimAgent[];
  /** Each agent asks for a leaf; the ones whose leaf comes from this authority. */
  under(authorityId: string): Promise<readonly string[]>;
}

const slow = { ...quickLives, issuance: { ...quickLives.issuance, defaultTtlSeconds: 60 } };

async function mesh(context: TestContext, count: number, selectorsOf: (index: number) => readonly string[] = () => []): Promise<Mesh> {
  const server = await startTestServer({ config: slow });
  context.after(() => server[Symbol.asyncDispose]());
  const agents = await Promise.all(Array.from({ length: count }, async (_, index) => {
    const joining = {
      ...simServer(server),
      joinAgent: async (agentName: string) => attestByToken(server.client(), (await server.admin('Tokens/CreateJoinToken', { agentName, nodeSelectors: selectorsOf(index) })).token),
    };
    return SimAgent.join(joining, `node-${index}`, ['web']);
  }));
  context.after(() => Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]())));
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: agents.map(({ name, credential }) => ({ spiffeId: `spiffe://mesh.test/${name}`, parentId: credential.spiffeId, selectors: ['unix:uid:1'] })),
  });
  const entryIds = results.map(({ entry }: any) => entry.id as string);
  return {
    server, agents,
    under: async (authorityId) => {
      const leaves = await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index])));
      return agents.filter((_, index) => leaves[index]?.authorityId === authorityId).map(({ name }) => name);
    },
  };
}

const insideShare = ({ credential }: SimAgent, share: number): boolean => Number.parseInt(createHash('sha256').update(credential.spiffeId).digest('hex').slice(0, 8), 16) / 2 ** 32 < share;
const codesOf = async (server: TestServer): Promise<readonly string[]> => (await server.admin('Authorities/GetRotationStatus')).notes.map(({ code }: any) => code);

async function begin(server: TestServer, steps: readonly object[], holdSeconds: number): Promise<any> {
  const { status, activeId } = rotationOf(server);
  const before = await activeId('issuing');
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing', canary: { steps, holdSeconds, maximumFailureRate: 0.05 } });
  let canary: any;
  await eventually('the new intermediate signs for a part', async () => {
    canary = (await status()).authorities.find(({ authority }: any) => authority.kind === 'issuing' && authority.state === 'active' && authority.id !== before)?.authority;
    return canary !== undefined;
  });
  return canary;
}

test('a new intermediate signs for its share of the nodes alone, is held there by failed handshakes, and widened when they are no more', async (context) => {
  const { server, agents, under } = await mesh(context, 12);
  const share = 0.4;
  const canary = await begin(server, [{ share }], 2);
  const inside = agents.filter((agent) => insideShare(agent, share)).map(({ name }) => name);
  assert.ok(inside.length > 0 && inside.length < agents.length);
  assert.deepEqual(await under(canary.id), inside);
  // nobody has reported a handshake yet, and the status says so
  assert.ok((await codesOf(server)).includes('CANARY_UNREPORTED'));
  const [reporter] = agents;
  reporter?.reportHandshakes(canary.subjectKeyId, 80, 20);
  await eventually('it is held', async () => (await codesOf(server)).includes('CANARY_FAILING'));
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.ok((await codesOf(server)).includes('CANARY_FAILING'));
  assert.deepEqual(await under(canary.id), inside);
  // the newest report of a consumer counts
  reporter?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually('it signs for all', async () => (await under(canary.id)).length === agents.length);
  await eventually('the rotation is over', async () => (await rotationOf(server).status()).operations.length === 0);
});

test('a new intermediate signs first for nodes with a selector, and then for the rest', async (context) => {
  const { server, agents, under } = await mesh(context, 6, (index) => (index < 2 ? ['zone:canary'] : []));
  const canary = await begin(server, [{ selectors: ['zone:canary'] }], 3);
  assert.deepEqual(await under(canary.id), ['node-0', 'node-1']);
  await eventually('it signs for all', async () => (await under(canary.id)).length === agents.length);
});

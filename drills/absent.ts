import { X509Source } from '../src/workload/index.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  startTraffic,
  type MeshNode,
} from '../test/support/mesh.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../test/support/server.ts';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';

/**
 * A tenth of the agents sleep while the root is rotated twice and the first root leaves the bundle.
 * Then they wake up.
 */
export const absent: Drill = {
  name: 'absent',
  promise:
    'agents that slept through two rotations of the root come back by themselves, and their workloads with them',
  options: ['--agents N           agents in all (default 4 with --short, else 20)'],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const count = Number(options['agents'] ?? (short ? 4 : 20));
    if (!Number.isInteger(count) || count < 2)
      throw new Error('--agents wants a whole number from 2 on');
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await startTestServer({ config: shortLives }));
    const nodes: MeshNode[] = [];
    for (let index = 0; index < count; index += 1)
      nodes.push(stack.use(await startNode(server, `node-${index}`)));
    const asleep = nodes.slice(0, Math.max(1, Math.floor(count / 10)));
    const sources = new Map<MeshNode, X509Source>();
    for (const node of [...asleep, nodes.at(-1) as MeshNode])
      sources.set(node, stack.use(await sourceOf(node)));
    const startedMs = performance.now();
    for (const node of asleep) await node.stop();
    say(`${asleep.length} of ${count} agents are asleep`);
    const newest = await rotateTwice(server, { say, signal });
    const awake = sources.get(nodes.at(-1) as MeshNode) as X509Source;
    const sums = { returned: 0, slowestMs: 0, handshakes: 0, failedHandshakes: 0 };
    for (const node of asleep) {
      signal.throwIfAborted();
      const source = sources.get(node) as X509Source;
      const returnedMs = await comesBack(node, source, newest, breaches);
      if (returnedMs === undefined) continue;
      sums.returned += 1;
      sums.slowestMs = Math.max(sums.slowestMs, returnedMs);
      const traffic = await talk(source, awake, breaches);
      sums.handshakes += traffic.handshakes;
      sums.failedHandshakes += traffic.failed;
    }
    say(`${sums.returned} came back`);
    breaches.expect(sums.handshakes > 0, 'nobody talked');
    return {
      figures: {
        seconds: round((performance.now() - startedMs) / 1000),
        agents: count,
        asleep: asleep.length,
        rotations: 2,
        returned: sums.returned,
        slowestReturnSeconds: round(sums.slowestMs / 1000),
        handshakes: sums.handshakes,
        failedHandshakes: sums.failedHandshakes,
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

const shortLives = {
  ...quickLives,
  issuance: {
    ...quickLives.issuance,
    agentTtlSeconds: 12,
    defaultTtlSeconds: 10,
    serverTtlSeconds: 14,
  },
};

const sourceOf = ({ socketPath }: MeshNode): Promise<X509Source> =>
  X509Source.connect({ socketPath, backoff: { initialMs: 20, maximumMs: 100 } });

/** Rotates the root twice, until the first root has left the bundle. Returns the newest root. */
async function rotateTwice(
  server: TestServer,
  { say, signal }: Pick<DrillContext, 'say' | 'signal'>,
): Promise<Buffer> {
  const { rotate, activeId, active } = rotationOf(server);
  for (const turn of [1, 2]) {
    signal.throwIfAborted();
    // sleeping agents count until every certificate that they obtained has expired
    await rotate('root');
    await eventually(
      'an intermediate under the new root signs',
      async () => (await active('issuing')).parentId === (await activeId('root')),
    );
    say(`rotation ${turn} of the root is done`);
  }
  const bundle = async (): Promise<Buffer[]> =>
    (await server.admin('Authorities/GetBundle')).rootsDer;
  await eventually(
    'the first root has left the bundle',
    async () => !(await bundle()).some((der) => der.equals(server.rootsDer[0] as Buffer)),
  );
  return (await bundle()).at(-1) as Buffer;
}

/** Starts a node again. Returns the milliseconds until it is back; undefined after a breach. */
async function comesBack(
  node: MeshNode,
  source: X509Source,
  newest: Buffer,
  breaches: Breaches,
): Promise<number | undefined> {
  const wokenMs = performance.now();
  await node.start();
  try {
    await eventually(
      `${node.name} is connected, and its workload has the newest root`,
      () =>
        node.agent.status().connected === true &&
        source.bundles.get(testTrustDomain)?.some((der) => der.equals(newest)) === true,
    );
    return performance.now() - wokenMs;
  } catch (thrown) {
    breaches.add(String((thrown as Error).message));
    return undefined;
  }
}

/** Handshakes between a workload that came back and one that was never away. */
async function talk(
  source: X509Source,
  awake: X509Source,
  breaches: Breaches,
): Promise<{ readonly handshakes: number; readonly failed: number }> {
  let shaken = 0;
  const stop = await startTraffic(source, awake, () => (shaken += 1));
  await until(() => shaken >= 5, 'handshakes');
  const { handshakes, failed } = await stop();
  for (const failure of failed) breaches.add(`a handshake failed: ${failure}`);
  return { handshakes, failed: failed.length };
}

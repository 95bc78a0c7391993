import { X509Source } from '../src/workload/index.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  startTraffic,
  type MeshNode,
} from '../test/support/mesh.ts';
import { startTestServer, testTrustDomain } from '../test/support/server.ts';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';

/**
 * A tenth of the agents sleep while the root is rotated twice and the first root leaves the bundle.
 * Then they wake up.
 */
export const absent: Drill = {
  name: 'absent',
  promise:
    'agents that slept through two rotations of the root come back by themselves, and their workloads with them',
  options: ['--agents N           agents in all (default 4 with --short, else 20)'],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const count = Number(options['agents'] ?? (short ? 4 : 20));
    if (!Number.isInteger(count) || count < 2)
      throw new Error('--agents wants a whole number from 2 on');
    await using stack = new AsyncDisposableStack();
    const server = stack.use(
      await startTestServer({
        config: {
          ...quickLives,
          issuance: {
            ...quickLives.issuance,
            agentTtlSeconds: 12,
            defaultTtlSeconds: 10,
            serverTtlSeconds: 14,
          },
        },
      }),
    );
    const { rotate, activeId, active } = rotationOf(server);
    const nodes: MeshNode[] = [];
    for (let index = 0; index < count; index += 1)
      nodes.push(stack.use(await startNode(server, `node-${index}`)));
    const asleep = nodes.slice(0, Math.max(1, Math.floor(count / 10)));
    const sources = new Map<MeshNode, X509Source>();
    for (const node of [...asleep, nodes.at(-1) as MeshNode])
      sources.set(
        node,
        stack.use(
          await X509Source.connect({
            socketPath: node.socketPath,
            backoff: { initialMs: 20, maximumMs: 100 },
          }),
        ),
      );
    const startedMs = performance.now();
    for (const node of asleep) await node.stop();
    say(`${asleep.length} of ${count} agents are asleep`);
    for (const turn of [1, 2]) {
      signal.throwIfAborted();
      // they count until every certificate that they obtained has expired
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
    const newest = (await bundle()).at(-1) as Buffer;
    const awake = sources.get(nodes.at(-1) as MeshNode) as X509Source;
    let returned = 0;
    let [handshakes, failedHandshakes, slowest] = [0, 0, 0];
    for (const node of asleep) {
      signal.throwIfAborted();
      const wokenMs = performance.now();
      await node.start();
      const source = sources.get(node) as X509Source;
      try {
        await eventually(
          `${node.name} is connected, and its workload has the newest root`,
          () =>
            node.agent.status().connected === true &&
            source.bundles.get(testTrustDomain)?.some((der) => der.equals(newest)) === true,
        );
        returned += 1;
        slowest = Math.max(slowest, performance.now() - wokenMs);
      } catch (thrown) {
        breaches.add(String((thrown as Error).message));
        continue;
      }
      let shaken = 0;
      const stop = await startTraffic(source, awake, () => (shaken += 1));
      await until(() => shaken >= 5, 'handshakes');
      const traffic = await stop();
      handshakes += traffic.handshakes;
      failedHandshakes += traffic.failed.length;
      for (const failure of traffic.failed) breaches.add(`a handshake failed: ${failure}`);
    }
    say(`${returned} came back`);
    breaches.expect(handshakes > 0, 'nobody talked');
    return {
      figures: {
        seconds: round((performance.now() - startedMs) / 1000),
        agents: count,
        asleep: asleep.length,
        rotations: 2,
        returned,
        slowestReturnSeconds: round(slowest / 1000),
        handshakes,
        failedHandshakes,
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

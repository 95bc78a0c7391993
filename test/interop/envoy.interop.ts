import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, rotationOf } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { AgentProcess } from './agent-process.ts';
import { envoyLives } from './envoy-lives.ts';
import { EnvoyProcess, renewedBy } from './envoy-process.ts';
import { executableOf } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';

const idOf = (name: string): string => `spiffe://${testTrustDomain}/${name}`;

// The steps follow each other: each one starts from where the one before has left the mesh.
describe('two Envoys in mutual TLS by secret discovery', () => {
  let server: TestServer;
  let agent: AgentProcess;
  let egress: EnvoyProcess;
  let ingress: EnvoyProcess;
  let entryPort = 0;

  async function createEntry(name: string): Promise<void> {
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: idOf(name),
          parentId: agent.agentId,
          selectors: [
            `unix:uid:${process.getuid?.() ?? 0}`,
            `unix:path:${executableOf(foreignProgram('envoy'))}`,
          ],
        },
      ],
    });
  }

  /** Through both Envoys, with a handshake of its own between them. */
  async function ask(): Promise<string> {
    try {
      const response = await fetch(`http://127.0.0.1:${entryPort}/`);
      return `${response.status} ${await response.text()}`;
    } catch (thrown) {
      return `failed: ${String(thrown)}`;
    }
  }

  /** Runs `change` under load. Each request must succeed. */
  async function under(change: () => Promise<void>): Promise<void> {
    let going = true;
    let asked = 0;
    const failed: string[] = [];
    const load = async (): Promise<void> => {
      while (going) {
        const answer = await ask();
        asked += 1;
        if (answer !== '200 ingress') failed.push(answer);
      }
    };
    const traffic = Promise.all([load(), load()]);
    try {
      await change();
    } finally {
      going = false;
      await traffic;
    }
    assert.deepEqual(failed, [], `of ${asked} requests`);
    assert.ok(asked > 0);
  }

  const renewed = (): Promise<void> => renewedBy([egress, ingress]);

  before(async () => {
    const [port = 0, first = 0, second = 0, third = 0, fourth = 0] = await freePorts(5);
    server = await startTestServer({ config: { ...envoyLives, listen: { port } } });
    agent = await AgentProcess.join(server, 'node');
    for (const name of ['egress', 'ingress']) await createEntry(name);
    entryPort = first;
    const { socketPath } = agent;
    ingress = await EnvoyProcess.start({
      ...{ name: 'ingress', socketPath, api: 'GRPC', port: second, adminPort: third },
      ...{ svid: idOf('ingress'), bundle: 'ALL', peer: idOf('egress') },
    });
    egress = await EnvoyProcess.start({
      ...{ name: 'egress', socketPath, api: 'DELTA_GRPC', port: first, adminPort: fourth },
      ...{ svid: idOf('egress'), bundle: 'ROOTCA', peer: idOf('ingress') },
      upstreamPort: second,
    });
    await eventually('a request to pass', async () => (await ask()) === '200 ingress');
  });

  after(async () => {
    await egress?.[Symbol.asyncDispose]();
    await ingress?.[Symbol.asyncDispose]();
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test('are counted as proxies that have confirmed', async () => {
    await eventually('both to be counted', async () => {
      const consumers = (await rotationOf(server).consumersOf(agent.agentId)) ?? [];
      const proxies = consumers.filter(({ kind }) => kind === 'proxy');
      return proxies.length === 2 && proxies.every(({ state }) => state === 'confirmed');
    });
  });

  test('fail no request over three renewals of their certificates', async () => {
    for (let round = 0; round < 3; round += 1) await under(renewed);
  });

  test('fail no request while the intermediate is replaced', async () => {
    await under(() => rotationOf(server).rotate('issuing'));
    await under(renewed);
  });

  test('fail no request while the root is replaced', async () => {
    await under(() => rotationOf(server).rotate('root'));
    await under(renewed);
  });

  test('wait for a third one that is stopped: it is named, and the root signs when it is back', async () => {
    await createEntry('idle');
    const [port = 0, adminPort = 0] = await freePorts(2);
    await using idle = await EnvoyProcess.start({
      ...{ name: 'idle', socketPath: agent.socketPath, api: 'DELTA_GRPC', port, adminPort },
      ...{ svid: idOf('idle'), bundle: 'ROOTCA', peer: idOf('egress') },
    });
    const rotation = rotationOf(server);
    await eventually('it to be counted', async () =>
      ((await rotation.consumersOf(agent.agentId)) ?? []).some(
        ({ spiffeId, state }) => spiffeId === idOf('idle') && state === 'confirmed',
      ),
    );
    idle.signal('SIGSTOP');
    const before = await rotation.activeId('root');
    await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
    await eventually('it to be the one that holds the root up', async () => {
      const waiting = await rotation.inState('root', 'published');
      const laggards = waiting?.confirmation?.laggards ?? [];
      return (
        laggards.map(({ kind, spiffeId }) => `${kind} ${spiffeId}`).join() ===
        `proxy ${idOf('idle')}`
      );
    });
    assert.equal(await rotation.activeId('root'), before);
    idle.signal('SIGCONT');
    await eventually(
      'the new root to be active',
      async () => (await rotation.activeId('root')) !== before,
    );
  });

  test('fail no request while the agent is killed and started again', async () => {
    await under(async () => {
      await agent.kill();
      await agent.start();
      await renewed();
    });
  });

  test('fail no request while the server is away', async () => {
    await under(async () => {
      await server.stop();
      await server.restart();
      await renewed();
    });
  });
});

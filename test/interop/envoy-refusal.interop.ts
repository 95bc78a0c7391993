import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { test } from 'node:test';
import { runCommand } from '../support/command.ts';
import { eventually, rotationOf } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { AgentProcess } from './agent-process.ts';
import { envoyLives } from './envoy-lives.ts';
import { EnvoyProcess } from './envoy-process.ts';
import { SdsRelay } from './sds-relay.ts';

const id = `spiffe://${testTrustDomain}/corrupted`;

/** An Envoy behind a relay. The relay is in this process, which the agent attests in its place. */
class RelayedEnvoy implements AsyncDisposable {
  readonly server: TestServer;
  readonly agent: AgentProcess;
  readonly relay: SdsRelay;
  readonly envoy: EnvoyProcess;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<RelayedEnvoy, 'server' | 'agent' | 'relay' | 'envoy'>,
    stack: AsyncDisposableStack,
  ) {
    ({ server: this.server, agent: this.agent, relay: this.relay, envoy: this.envoy } = parts);
    this.#stack = stack;
  }

  /** Resolves when it has confirmed. */
  static async start(): Promise<RelayedEnvoy> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await startTestServer({ config: envoyLives }));
    const agent = stack.use(await AgentProcess.join(server, 'node'));
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: id,
          parentId: agent.agentId,
          x509TtlSeconds: 30,
          selectors: [
            `unix:uid:${process.getuid?.() ?? 0}`,
            `unix:path:${realpathSync(process.execPath)}`,
          ],
        },
      ],
    });
    const relay = stack.use(await SdsRelay.start(agent.socketPath));
    const [port = 0, adminPort = 0] = await freePorts(2);
    const envoy = stack.use(
      await EnvoyProcess.start({
        ...{ name: 'corrupted', socketPath: relay.socketPath, api: 'DELTA_GRPC', port, adminPort },
        ...{ svid: 'default', bundle: 'ROOTCA', peer: id },
      }),
    );
    const started = new RelayedEnvoy({ server, agent, relay, envoy }, stack.move());
    await started.reported('confirmed');
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  /** Resolves with the reason when the agent reports it in this state. */
  async reported(state: string): Promise<string> {
    let reason = '';
    await eventually(`it to be ${state}`, async () => {
      const consumers = await rotationOf(this.server).consumersOf(this.agent.agentId);
      const consumer = (consumers ?? []).find(({ spiffeId }) => spiffeId === id);
      reason = consumer?.reason ?? '';
      return consumer?.state === state;
    });
    return reason;
  }

  /** Orders a new root, and resolves with the refusal for which it waits, and nothing else. */
  async heldUp(): Promise<string> {
    let reason: string | undefined;
    await this.server.admin('Authorities/RotateAuthorities', { kind: 'root' });
    await eventually('the refusal to hold up the root', async () => {
      const waiting = await rotationOf(this.server).inState('root', 'published');
      const [laggard, ...others] = waiting?.confirmation?.laggards ?? [];
      const alone = others.length === 0 && laggard?.spiffeId === id;
      reason = alone && laggard.state === 'refused' ? laggard.reason : undefined;
      return reason !== undefined;
    });
    const status = await runCommand(this.server, ['authority', 'status']);
    assert.match(status.out, /node "corrupted" proxy – refused \(the proxy refused the update: /);
    return reason as string;
  }

  /** How often Envoy refused the secret with this name. */
  async refusals(name: string): Promise<number> {
    const text = await this.envoy.admin('/stats?filter=^sds');
    const counter = `sds.${name}.update_rejected: `;
    const line = text.split('\n').find((each) => each.startsWith(counter));
    return Number(line?.slice(counter.length));
  }
}

test('an Envoy that refuses altered roots is named, also on a new stream, until it has good ones', async () => {
  await using proxy = await RelayedEnvoy.start();
  const rotation = rotationOf(proxy.server);
  const before = await rotation.activeId('root');
  proxy.relay.corrupts = 'roots';
  assert.match(await proxy.heldUp(), /trusted CA/i);
  assert.equal(await rotation.activeId('root'), before);
  assert.equal(await proxy.refusals('ROOTCA'), 1);
  assert.equal(proxy.relay.altered, 1, 'what it refused was sent again');
  // Envoy acknowledges what it has refused before, if it comes in the same bytes
  proxy.relay.cut();
  await eventually('another refusal', async () => (await proxy.refusals('ROOTCA')) === 2);
  await proxy.reported('refused');
  assert.equal(await rotation.activeId('root'), before);
  proxy.relay.corrupts = 'nothing';
  proxy.relay.cut();
  await eventually(
    'the new root to be active',
    async () => (await rotation.activeId('root')) !== before,
  );
  assert.equal(await proxy.refusals('ROOTCA'), 2);
});

test('an Envoy that refuses an altered key keeps its certificate, is named, and takes the next', async () => {
  await using proxy = await RelayedEnvoy.start();
  const rotation = rotationOf(proxy.server);
  const before = await rotation.activeId('root');
  const serials = await proxy.envoy.serials();
  proxy.relay.corrupts = 'keys';
  assert.match(await proxy.reported('refused'), /private key/i);
  assert.deepEqual(await proxy.envoy.serials(), serials);
  assert.match(await proxy.heldUp(), /private key/i);
  assert.equal(await rotation.activeId('root'), before);
  // it refused the good roots too, for the key beside them
  assert.equal(await proxy.refusals('ROOTCA'), 1);
  proxy.relay.corrupts = 'nothing';
  await eventually(
    'the new root to be active',
    async () => (await rotation.activeId('root')) !== before,
  );
  await proxy.reported('confirmed');
});

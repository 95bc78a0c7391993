import assert from 'node:assert/strict';
import { mkdtempSync, readlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../../../src/cli/program.ts';
import type { FileTarget } from '../../../../src/common/wire/generated/meshca/agent/v1/FileTarget.ts';
import { agentSeat, type AgentSeat } from '../../../support/agent-seat.ts';
import { testContext } from '../../../support/command.ts';
import { rotationOf } from '../../../support/mesh.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import {
  handshake,
  setFiles,
  startNginx,
  type RunningServer,
  type ServedDirectory,
} from '../../../support/servers/index.ts';
import { until } from '../../../support/until.ts';

const web = 'spiffe://mesh.test/edge/web';

/** A server, an agent with one target, and the directory of that target. */
class Edge implements AsyncDisposable {
  readonly server: TestServer;
  readonly directory: string;
  readonly agentId: string;
  readonly #token: string;
  #seat: AgentSeat | undefined;

  constructor(server: TestServer, agentId: string, token: string) {
    this.server = server;
    this.agentId = agentId;
    this.#token = token;
    this.directory = mkdtempSync(join(tmpdir(), 'meshca-edge-'));
  }

  static async start(): Promise<Edge> {
    const server = await startTestServer({ config: { issuance: { minimumTtlSeconds: 30 } } });
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [
        {
          ...{ id: 'web', spiffeId: web, parentId: agentId, dnsNames: ['web.mesh.test'] },
          selectors: ['target:name:web'],
        },
      ],
    });
    assert.equal(results[0]?.outcome, 'entry', JSON.stringify(results));
    return new Edge(server, agentId, token);
  }

  get seat(): AgentSeat {
    if (this.#seat === undefined) throw new Error('the agent is not started');
    return this.#seat;
  }

  /** Starts an agent with this target, with what the one before kept. */
  async run(target: object): Promise<void> {
    await this.#seat?.stop();
    const dataFrom = await this.#seat?.copy();
    const before = this.#seat;
    this.#seat = await agentSeat(
      this.server,
      { joinToken: { token: this.#token } },
      {
        ...(dataFrom === undefined ? {} : { dataFrom }),
        sections: { targets: [{ name: 'web', directory: this.directory, ...target }] },
      },
    );
    await before?.[Symbol.asyncDispose]();
    await this.#seat.start();
    await this.#seat.connected();
  }

  /** `meshca set VERB web` on the node. */
  async set(verb: 'show' | 'stage' | 'promote' | 'rollback'): Promise<FileTarget> {
    const { context, seen } = testContext();
    const socket = this.seat.config.localApi.socketPath;
    const code = await runCli(
      ['set', verb, 'web', '--local', '--socket', socket, '--json'],
      context,
    );
    assert.equal(code, 0, seen.err);
    return JSON.parse(seen.out) as FileTarget;
  }

  async reaches(state: string): Promise<void> {
    let last: FileTarget | undefined;
    await until(async () => (last = await this.set('show')).state === state, state).catch(
      (thrown: unknown) => {
        throw new Error(`the target is not ${state}: ${JSON.stringify(last)}`, { cause: thrown });
      },
    );
  }

  get served(): ServedDirectory {
    const { directory } = this;
    return {
      path: directory,
      get currentSerial() {
        return basename(readlinkSync(join(directory, 'current'))).replace(/^\d+-/, '');
      },
      file: (kind) => join(directory, 'current', setFiles[kind]),
    };
  }

  /** The line of the target, as the server knows it. */
  async line() {
    const consumers = await rotationOf(this.server).consumersOf(this.agentId);
    return consumers.find(({ kind }) => kind === 'files');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#seat?.[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** New connections one after the other until it is stopped or disposed. */
function steadyHandshakes({ listener }: RunningServer) {
  const failed: string[] = [];
  let stopped = false;
  let count = 0;
  const running = (async () => {
    while (!stopped) {
      count += 1;
      await handshake(listener).then(
        (socket) => socket.destroy(),
        (thrown: unknown) => void failed.push(String(thrown)),
      );
    }
  })();
  const stop = async () => {
    stopped = true;
    await running;
    return { count, failed };
  };
  return { stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

test('an agent keeps a real nginx in certificates: first set, new sets, the way back, another root', async () => {
  await using edge = await Edge.start();
  await edge.run({ driver: { type: 'none' } });
  await edge.reaches('applied');
  await until(async () => (await edge.line())?.state === 'pending', 'nobody can tell');

  await using nginx = await startNginx(edge.served);
  const listeners = [{ address: `127.0.0.1:${nginx.port}`, serverName: 'web.mesh.test' }];
  await edge.run({
    driver: { type: nginx.driver.type, ...nginx.driver.settings },
    listeners,
    proof: { timeoutSeconds: 30 },
  });
  await using traffic = steadyHandshakes(nginx);
  await until(async () => (await edge.line())?.state === 'confirmed', 'what was served is proven');
  const first = await nginx.serial();

  await edge.set('stage');
  assert.equal(await nginx.serial(), first, 'a staged set is not served');
  assert.equal((await edge.set('promote')).state, 'proven');
  const second = await nginx.serial();
  assert.notEqual(second, first);
  assert.equal(second, edge.served.currentSerial);

  assert.equal((await edge.set('rollback')).state, 'rolled-back');
  assert.equal(await nginx.serial(), first);
  assert.equal((await edge.set('promote')).state, 'proven');
  assert.equal(await nginx.serial(), second);

  const before = (await edge.line())?.authoritySetDigest;
  const rotation = rotationOf(edge.server);
  await edge.server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(async () => {
    const counted = (await rotation.inState('root', 'published'))?.confirmation;
    return counted?.provenNeeded === 2 && counted.provenConfirmed === 2;
  }, 'agent and nginx are proven to trust the new root, before it signs');
  const line = await edge.line();
  assert.notDeepEqual(line?.authoritySetDigest, before);
  assert.notEqual(await nginx.serial(), second, 'with a new leaf');

  const { count, failed } = await traffic.stop();
  assert.deepEqual(failed, []);
  assert.ok(count > 0);
  const metrics = await (await fetch(`http://127.0.0.1:${edge.seat.agent.opsPort}/metrics`)).text();
  assert.match(metrics, /meshca_agent_target_state\{target="web",state="proven"\} 1/);
  assert.match(
    metrics,
    /meshca_agent_target_deliveries_total\{target="web",outcome="proven"\} [1-9]/,
  );
  assert.match(metrics, /meshca_agent_target_not_after_timestamp_seconds\{target="web"\} \d+/);
});

test('a server that is down keeps the files that it was proven to have, and no workload suffers', async () => {
  await using edge = await Edge.start();
  await edge.run({ driver: { type: 'none' } });
  await edge.reaches('applied');
  const nginx = await startNginx(edge.served);
  const { listener, driver } = nginx;
  await edge.run({
    driver: { type: driver.type, ...driver.settings },
    listeners: [{ address: listener.address }],
    proof: { handshakes: 1, timeoutSeconds: 1 },
  });
  await until(async () => (await edge.line())?.state === 'confirmed', 'what was served is proven');
  const current = edge.served.currentSerial;
  await nginx[Symbol.asyncDispose]();
  await edge.set('stage').catch(() => undefined);
  await edge.set('promote').catch(() => undefined);
  const target = await edge.set('show');
  assert.equal(
    edge.served.currentSerial,
    current,
    `the files are those from before: ${target.reason}`,
  );
  assert.notEqual(target.reason, '');
  assert.equal(edge.seat.agent.readiness().reasons.length, 0, 'no workload suffers');
  assert.match(edge.seat.agent.readiness().notes.join(), /the file target web is/);
});

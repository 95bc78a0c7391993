import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256Hex } from '../../src/common/x509/index.ts';
import { testTrustDomain, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { productEntry } from '../support/product.ts';

/** The agent as a user starts it: a process of its own, which can be killed. */
export class AgentProcess {
  readonly agentId: string;
  readonly socketPath: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;
  #log = '';

  private constructor(folder: string, agentId: string) {
    this.#folder = folder;
    this.agentId = agentId;
    this.socketPath = join(folder, 'w');
  }

  /** Joins by a token, and starts. `sections` are added to its configuration. */
  static async join(
    server: TestServer,
    name: string,
    sections: object = {},
  ): Promise<AgentProcess> {
    const folder = await mkdtemp(join(tmpdir(), 'meshca-agent-'));
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: name });
    const tokenPath = join(folder, 'token');
    await writeFile(tokenPath, token, { mode: 0o600 });
    const config = {
      trustDomain: testTrustDomain,
      serverAddress: `127.0.0.1:${server.server.port}`,
      dataDir: join(folder, 'd'),
      bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
      attestation: { joinToken: { path: tokenPath } },
      workloadApi: { socketPath: join(folder, 'w') },
      localApi: { socketPath: join(folder, 'l') },
      ops: { port: 0 },
      connection: { backoffBaseMs: 50, backoffCapMs: 500 },
      ...sections,
    };
    await writeFile(join(folder, 'agent.json'), JSON.stringify(config));
    const agent = new AgentProcess(folder, agentId);
    await agent.start();
    return agent;
  }

  async start(): Promise<void> {
    const child = spawn(
      process.execPath,
      [productEntry, 'agent', 'run', '--config', join(this.#folder, 'agent.json')],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    let log = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (bytes: Buffer) => {
        log += bytes.toString();
        this.#log = log;
      });
    await until(() => {
      if (child.exitCode !== null) throw new Error(`the agent ended: ${this.#log}`);
      return /connected|session|in step/i.test(log);
    }, 'the agent to be connected');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

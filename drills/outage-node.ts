import { fork, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { agentContract } from '../src/common/wire/index.ts';
import type { FileTarget__Output } from '../src/common/wire/generated/meshca/agent/v1/FileTarget.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from '../test/support/until.ts';
import { childEntry } from './child-entry.ts';
import type { ClientReport } from './outage-client.ts';
import { tail } from './server-child.ts';
import type { World } from './world.ts';
import { productEntry } from '../test/support/product.ts';

const clientEntry = childEntry('outage-client');

export interface NodeOptions {
  readonly port: number;
  readonly lifeSeconds: number;
  /** Further sections of the agent's configuration. */
  readonly sections?: object;
}

/**
 * One node: an agent as the product runs it, and a workload of its own process that holds all that
 * its entries give.
 */
export class OutageNode implements AsyncDisposable {
  readonly name: string;
  readonly agentId: string;
  readonly #world: World;
  readonly #dir: string;
  readonly socketPath: string;
  #agent: ChildProcess | undefined;
  #client: ChildProcess | undefined;
  #report: ClientReport | undefined;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.agentId = `spiffe://${world.trustDomain}/meshca/agent/${name}`;
    this.#dir = join(world.dir, name);
    this.socketPath = join(this.#dir, 'w.sock');
  }

  /**
   * Joins by token, once; the token is gone afterwards, so that the node has to come back without
   * anyone.
   */
  async join(options: NodeOptions): Promise<void> {
    await mkdir(this.#dir, { mode: 0o700 });
    const { token } = await this.#world.calls.admin('Tokens/CreateJoinToken', {
      agentName: this.name,
    });
    const { rootsPem } = await this.#world.calls.admin('Authorities/GetBundle');
    await writeFile(join(this.#dir, 'bundle.pem'), rootsPem as string);
    await writeFile(join(this.#dir, 'token'), token as string, { mode: 0o600 });
    await this.#configure(options, true);
    this.startAgent();
    await this.#until(
      async () =>
        (
          (await this.#world.calls.admin('Agents/ListAgents'))['agents'] as {
            spiffeId: string;
            connected: boolean;
          }[]
        ).some(({ spiffeId, connected }) => spiffeId === this.agentId && connected),
      'joins',
    );
    await rm(join(this.#dir, 'token'));
    await this.#configure(options, false);
  }

  /** The agent ends as when the power fails, and starts with another configuration. */
  async reconfigure(options: NodeOptions): Promise<void> {
    await this.killAgent();
    await this.#configure(options, false);
    this.startAgent();
  }

  /** A file target of its agent. While the agent is away its state is empty. */
  async target(name: string): Promise<FileTarget__Output> {
    const client = new (agentContract().packages.meshca.agent.v1.AgentLocal)(
      `unix:${this.#localSocketPath}`,
      credentials.createInsecure(),
      { 'grpc.default_authority': 'localhost' },
    );
    try {
      return await new Promise((resolve) => {
        client.listTargets({ name }, (error, answer) => {
          const target = error === null ? answer?.targets[0] : undefined;
          resolve(target ?? ({ name, state: '', reason: String(error) } as FileTarget__Output));
        });
      });
    } finally {
      client.close();
    }
  }

  get #localSocketPath(): string {
    return join(this.#dir, 'l.sock');
  }

  startAgent(): void {
    const log = openSync(join(this.#dir, 'agent.log'), 'a', 0o600);
    this.#agent = spawn(
      process.execPath,
      [productEntry, 'agent', 'run', '--config', join(this.#dir, 'agent.json')],
      { stdio: ['ignore', log, log], detached: true, env: { PATH: process.env['PATH'] } },
    );
    closeSync(log);
  }

  /** As when the power fails. */
  killAgent(): Promise<void> {
    return ended(this.#agent, 'SIGKILL');
  }

  get agentPid(): number {
    if (this.#agent?.pid === undefined) throw new Error(`the agent of ${this.name} is stopped`);
    return this.#agent.pid;
  }

  agentAlive(): boolean {
    return (
      this.#agent !== undefined && this.#agent.exitCode === null && this.#agent.signalCode === null
    );
  }

  /** SIGSTOP: it lives and does nothing, until it is continued. */
  freezeAgent(): void {
    this.#agent?.kill('SIGSTOP');
  }

  thawAgent(): void {
    this.#agent?.kill('SIGCONT');
  }

  async startClient(expected: number): Promise<void> {
    this.#client = fork(clientEntry, [this.socketPath], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [],
      detached: true,
    });
    this.#client.on('message', (report: ClientReport) => (this.#report = report));
    if (expected > 0) await this.holds(expected);
  }

  /** Waits until the workload holds that many identities, none of them expired. */
  holds(count: number): Promise<void> {
    return this.#until(
      () =>
        Promise.resolve(
          (this.#report?.held.filter(({ notAfterMs }) => notAfterMs > Date.now()).length ?? 0) >=
            count,
        ),
      `holds ${count} identities (${this.#report?.held.length ?? 0})`,
    );
  }

  serials(): ReadonlySet<string> {
    return new Set(this.report.held.map(({ serial }) => serial));
  }

  /** Waits until the workload holds that many certificates that are not among the earlier ones. */
  replaced(before: ReadonlySet<string>, count: number): Promise<void> {
    return this.#until(
      () =>
        Promise.resolve(
          [...this.serials()].filter((serial) => !before.has(serial)).length >= count,
        ),
      `holds ${count} new certificates`,
    );
  }

  get report(): ClientReport {
    return (
      this.#report ?? {
        type: 'state',
        held: [],
        expired: [],
        updates: 0,
        closestMs: Number.MAX_SAFE_INTEGER,
      }
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([ended(this.#client, 'SIGKILL'), ended(this.#agent, 'SIGKILL')]);
  }

  #configure({ port, lifeSeconds, sections }: NodeOptions, joins: boolean): Promise<void> {
    return writeFile(
      join(this.#dir, 'agent.json'),
      JSON.stringify({
        trustDomain: this.#world.trustDomain,
        serverAddress: `127.0.0.1:${port}`,
        dataDir: join(this.#dir, 'state'),
        bootstrap: { bundlePath: join(this.#dir, 'bundle.pem') },
        attestation: joins ? { joinToken: { path: join(this.#dir, 'token') } } : {},
        workloadApi: { socketPath: this.socketPath },
        localApi: { socketPath: this.#localSocketPath },
        ops: { port: 0 },
        outage: { shortestTtlSeconds: lifeSeconds },
        log: { format: 'json' },
        ...sections,
      }),
    );
  }

  async #until(holds: () => Promise<boolean>, what: string): Promise<void> {
    const endMs = performance.now() + patienceMs;
    while (!(await holds())) {
      if (performance.now() > endMs)
        throw new Error(
          `${this.name}: not within ${patienceMs} ms: ${what}; the end of its agent's log: ${tail(join(this.#dir, 'agent.log'))}`,
        );
      await sleep(50);
    }
  }
}

async function ended(child: ChildProcess | undefined, signal: 'SIGKILL'): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await gone;
}

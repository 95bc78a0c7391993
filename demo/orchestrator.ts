import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PkiError } from '../src/common/errors/index.ts';
import { writeAgentConfig } from './agent-config.ts';
import { Child, run } from './children.ts';
import {
  agentName,
  freePorts,
  pathsOf,
  trustDomain,
  workloadIds,
  writeEntries,
  serverPorts,
  writeServerConfig,
  type Ports,
  type SoftHsm,
} from './configs.ts';
import { readFacts, readReadiness, readText } from './facts.ts';
import { readJson, writeDurably, type DemoHome, type RunRecord } from './home.ts';
import { accounts, type WorkloadAccount } from './identities.ts';
import type { DemoEvent, WorkloadName, WorkloadReport } from './model.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface OrchestratorOptions {
  readonly home: DemoHome;
  readonly record: RunRecord;
  readonly env: Environment;
  readonly node: string;
  readonly uid: number;
  /** Entry of the product; default that of this build. */
  readonly product: string | undefined;
  readonly emit: (event: DemoEvent) => void;
  /** Called when a part ended that should run, which ends the demonstration. */
  readonly onFailure: (error: PkiError) => void;
}

/** State of the first start that a second one needs. */
interface Remembered {
  readonly agentId: string;
}

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const here = dirname(fileURLToPath(import.meta.url));
const project = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
/** The bundle, or from source the entry itself. */
const ownProduct = join(here, '..', extension === '.js' ? 'product' : 'src', `main${extension}`);
const workloadMain = join(here, `workload${extension}`);

/**
 * Starts the real product as child processes, one after the other, keeps server and agent alive,
 * and ends all in the opposite order.
 */
export class Orchestrator {
  readonly #options: OrchestratorOptions;
  readonly #env: Environment;
  readonly #children: Child[] = [];
  readonly #stopping = new AbortController();
  readonly #product: string;
  readonly #watches: Promise<void>[] = [];
  /** Monotonic instants at which a part ended by itself. */
  readonly #deaths: number[] = [];
  #running = false;
  /** The authority that signed last. When it changes, the text about the chain is read again. */
  #issuer = '';
  /** The last reason why a part is not ready. Empty if it is. */
  readonly #trouble = { server: '', agent: '' };

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#product = options.product ?? ownProduct;
    // the environment must not configure the parts, which have their files
    this.#env = Object.fromEntries(
      Object.entries(options.env).filter(
        ([name]) => !name.startsWith('MESHCA_') && name !== 'SPIFFE_ENDPOINT_SOCKET',
      ),
    );
  }

  async start(): Promise<void> {
    const { home, emit, node, uid } = this.#options;
    const paths = pathsOf(home);
    // a killed agent or server leaves its sockets behind
    for (const socket of [paths.workloadSocket, paths.agentSocket, paths.adminSocket])
      rmSync(socket, { force: true });

    emit({ kind: 'step', text: 'setting up the HSM tokens (SoftHSM)' });
    const hsm = JSON.parse(
      await this.#run([join(project, 'softhsm', 'init.mjs'), '--dir', home.hsm, '--json']),
    ) as SoftHsm;
    emit({
      kind: 'facts',
      trustDomain,
      hsm: `SoftHSM, tokens ${hsm.tokens.root.label} and ${hsm.tokens.issuing.label}`,
    });
    const ports = await freePorts();

    emit({
      kind: 'step',
      text: hsm.tokens.root.created
        ? 'starting the CA: creates root and issuing authority in the tokens'
        : 'starting the CA',
    });
    emit({ kind: 'server', state: 'starting' });
    writeServerConfig(home, hsm, ports);
    const server = this.#spawn('server', [
      this.#product,
      'server',
      'run',
      '--config',
      paths.serverConfig,
    ]);
    await this.#ready(server, ports.serverOps);
    this.#report('server', ports.serverOps, serverPorts(ports));
    this.#watches.push(this.#watchFacts(ports));

    emit({ kind: 'step', text: 'registering the demo workloads, starting the agent' });
    emit({ kind: 'agent', state: 'starting' });
    writeDurably(paths.bundle, await readText(ports.serverHttp, '/bundle', this.#stopping.signal));
    const perWorkload = accounts(home, node, workloadMain, uid);
    await this.#startAgent(ports, perWorkload);

    emit({ kind: 'step', text: 'starting two workloads' });
    const port = await this.#startGreeter(perWorkload.greeter);
    this.#spawnWorkload('caller', perWorkload.caller, [workloadIds.greeter, String(port)]);
    this.#running = true;
  }

  /** Stops callers before the parts that they call, so that no call fails. Takes at most 5 s. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const name of ['caller', 'greeter', 'agent', 'server']) {
      for (const child of this.#children)
        if (child.name === name)
          await child.stop(name === 'server' || name === 'agent' ? 1400 : 700);
    }
    await Promise.all(this.#watches);
  }

  /** Kills the remaining parts without waiting. */
  kill(): void {
    for (const child of this.#children) child.kill();
  }

  /**
   * The agent keeps its identity on disk: only the first start, or one after it was lost, needs a
   * join token.
   */
  async #startAgent(
    ports: Ports,
    perWorkload: Record<WorkloadName, WorkloadAccount>,
  ): Promise<void> {
    const { home, emit } = this.#options;
    const rememberedPath = join(home.root, 'demo.json');
    const remembered = readJson<Remembered>(rememberedPath);
    const known =
      remembered !== undefined &&
      existsSync(join(home.agent, 'state')) &&
      readdirSync(join(home.agent, 'state')).length > 0;
    if (known) {
      writeAgentConfig(home, ports, { join: false });
      const agent = this.#spawn('agent', this.#agentArgs(), false);
      const applied = this.#applyEntries(remembered.agentId, perWorkload);
      // awaited below; its failure must not count as unhandled before
      applied.catch(() => undefined);
      try {
        await this.#ready(agent, ports.agentOps, 15_000);
        await applied;
        this.#report('agent', ports.agentOps, remembered.agentId);
        agent.watch();
        return;
      } catch (thrown) {
        if (this.#stopping.signal.aborted) throw thrown;
        emit({
          kind: 'problem',
          text: 'the agent could not go on with its stored identity; it joins again',
        });
        await agent.stop(1400);
        await Promise.allSettled([applied]);
        rmSync(join(home.agent, 'state'), { recursive: true, force: true });
      }
    }
    const { token, agentId } = JSON.parse(
      await this.#cli(['token', 'create', '--agent-name', agentName, '--ttl', '10m', '--json']),
    ) as { token: string; agentId: string };
    writeFileSync(pathsOf(home).joinToken, token, { mode: 0o600 });
    writeAgentConfig(home, ports, { join: true });
    const agent = this.#spawn('agent', this.#agentArgs());
    await Promise.all([
      this.#applyEntries(agentId, perWorkload),
      this.#ready(agent, ports.agentOps),
    ]);
    // the token is used up, so from now on the agent uses its stored identity, also after restarts
    writeAgentConfig(home, ports, { join: false });
    rmSync(pathsOf(home).joinToken, { force: true });
    writeDurably(rememberedPath, JSON.stringify({ agentId } satisfies Remembered));
    this.#report('agent', ports.agentOps, agentId);
  }

  #agentArgs(): readonly string[] {
    return [this.#product, 'agent', 'run', '--config', pathsOf(this.#options.home).agentConfig];
  }

  async #applyEntries(
    agentId: string,
    perWorkload: Record<WorkloadName, WorkloadAccount>,
  ): Promise<void> {
    writeEntries(this.#options.home, agentId, perWorkload);
    await this.#cli(['entry', 'apply', '-f', pathsOf(this.#options.home).entries, '--json']);
  }

  #startGreeter(account: WorkloadAccount): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#stopping.signal.addEventListener(
        'abort',
        () => reject(this.#stopping.signal.reason as Error),
        { once: true },
      );
      this.#spawnWorkload('greeter', account, [workloadIds.caller], (report) => {
        if (report.type === 'listening') resolve(report.port);
        if (report.type === 'problem')
          reject(
            new PkiError('DEMO_PART_FAILED', `greeter: ${report.code}: ${report.message}`, {
              detail: { log: join(this.#options.home.log, 'agent.log') },
            }),
          );
      });
    });
  }

  #spawnWorkload(
    name: WorkloadName,
    account: WorkloadAccount,
    args: readonly string[],
    onReport?: (report: WorkloadReport) => void,
  ): void {
    const { home, record, emit } = this.#options;
    const child = new Child(home, record, {
      name,
      command: account.command,
      args: [workloadMain, name, pathsOf(home).workloadSocket, ...args],
      env: this.#env,
      ipc: true,
      onUnexpectedExit: (error) => this.#failed(error),
      ...(account.uid === undefined ? {} : { uid: account.uid }),
      ...(account.gid === undefined ? {} : { gid: account.gid }),
    });
    this.#children.push(child);
    child.process.on('message', (report: WorkloadReport) => {
      emit({ kind: 'workload', name, report });
      if (report.type === 'identity') this.#issuer = report.issuer;
      onReport?.(report);
    });
  }

  #spawn(
    name: 'server' | 'agent',
    args: readonly string[],
    watched = true,
    again = false,
  ): Child & { watch(): void } {
    const { home, record, node } = this.#options;
    let watching = watched;
    const child = new Child(home, record, {
      name,
      command: node,
      args,
      env: this.#env,
      again,
      tethered: true,
      onUnexpectedExit: (error) => {
        if (watching) this.#revive(name, args, error);
      },
    });
    this.#children.push(child);
    return Object.assign(child, { watch: () => (watching = true) });
  }

  /**
   * Restarts a server or agent that ends by itself, as a supervisor does. The workloads must not
   * notice.
   */
  #revive(name: 'server' | 'agent', args: readonly string[], error: PkiError): void {
    const now = performance.now();
    this.#deaths.push(now);
    const recent = this.#deaths.filter((at) => now - at < 60_000).length;
    if (!this.#running || recent > 5 || this.#stopping.signal.aborted) {
      this.#failed(error);
      return;
    }
    this.#options.emit({ kind: 'problem', text: `${error.message}; starting it again` });
    this.#options.emit({ kind: name, state: 'starting' });
    // a restart is reported however short it is
    this.#trouble[name] = 'it was started again';
    this.#spawn(name, args, true, true);
  }

  #failed(error: PkiError): void {
    if (!this.#stopping.signal.aborted) this.#options.onFailure(error);
  }

  #run(args: readonly string[]): Promise<string> {
    return run(this.#options.node, args, this.#env, this.#stopping.signal);
  }

  #cli(args: readonly string[]): Promise<string> {
    return this.#run([
      this.#product,
      ...args,
      '--server-socket',
      pathsOf(this.#options.home).adminSocket,
    ]);
  }

  async #ready(child: Child, port: number, patienceMs = 60_000): Promise<void> {
    const end = performance.now() + patienceMs;
    let reasons: readonly string[] = [];
    while (performance.now() < end) {
      this.#stopping.signal.throwIfAborted();
      if (!child.alive)
        throw new PkiError('DEMO_PART_FAILED', `${child.name} ended while it was starting`, {
          detail: { log: child.logPath },
        });
      const state = await readReadiness(port, this.#stopping.signal);
      if (state?.ready === true) return;
      reasons = state?.reasons ?? ['it does not answer yet'];
      await sleep(50);
    }
    throw new PkiError(
      'DEMO_PART_FAILED',
      `${child.name} was not ready within ${patienceMs / 1000} s: ${reasons.join('; ')}`,
      { detail: { log: child.logPath } },
    );
  }

  /** Reports that a part is ready, and later when it no longer is, with its reasons. */
  #report(kind: 'server' | 'agent', port: number, detail: string): void {
    this.#options.emit({ kind, state: 'ready', detail });
    this.#watches.push(this.#watchReadiness(kind, port, detail));
  }

  async #watchReadiness(kind: 'server' | 'agent', port: number, detail: string): Promise<void> {
    const { signal } = this.#stopping;
    for (;;) {
      await sleep(1000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      const state = await readReadiness(port, signal).catch(() => undefined);
      if (signal.aborted) return;
      const reasons = state === undefined ? 'it does not answer' : state.reasons.join('; ');
      const trouble = state?.ready === true ? '' : reasons || 'it gives no reason';
      if (trouble === this.#trouble[kind]) continue;
      this.#trouble[kind] = trouble;
      this.#options.emit(
        trouble === ''
          ? { kind, state: 'ready', detail }
          : { kind, state: 'degraded', detail: trouble },
      );
    }
  }

  async #watchFacts(ports: Ports): Promise<void> {
    const { signal } = this.#stopping;
    let authorities: Partial<Extract<DemoEvent, { kind: 'facts' }>> | undefined;
    let readAt = '';
    while (!signal.aborted) {
      try {
        const issuer = this.#issuer;
        if (authorities === undefined || readAt !== issuer)
          authorities = await readFacts(() => this.#cli(['authority', 'list', '--json']));
        readAt = issuer;
        const issued = sumOf(
          await readText(ports.serverOps, '/metrics', signal),
          'meshca_certificates_issued_total',
        );
        this.#options.emit({
          kind: 'facts',
          ...authorities,
          ...(issued === undefined ? {} : { issued }),
        });
      } catch {
        // the former facts stay, and the state of the server shows its problem
      }
      await sleep(2000, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** The sum of a Prometheus counter over its labels. */
function sumOf(metrics: string, name: string): number | undefined {
  const values = metrics
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0);
}

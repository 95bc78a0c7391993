import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { uuidv7 } from '../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../src/common/x509/index.ts';
import {
  attestByToken,
  channelCredentials,
  untypedCall,
  type Credential,
} from '../test/support/server.ts';
import { createTokens, type TestTokens } from '../test/support/softhsm.ts';
import { productEntry } from '../test/support/product.ts';

export const trustDomain = 'bench.test';

/**
 * The product as it is installed: `meshca server run` (and `agent run`) in processes of their own,
 * with SoftHSM and a database on disk.
 */
export interface Product extends AsyncDisposable {
  readonly dir: string;
  readonly tokens: TestTokens;
  readonly serverPid: number;
  readonly port: number;
  readonly opsPort: number;
  readonly rootsDer: readonly Buffer[];
  admin(method: string, request?: object): Promise<any>;
  mint(spiffeId: string): Promise<Credential>;
  joinAgent(name: string): Promise<Credential>;
  startAgent(
    name: string,
    options?: { readonly config?: object; readonly nodeFlags?: readonly string[] },
  ): Promise<AgentProcess>;
}

export interface AgentProcess extends AsyncDisposable {
  readonly pid: number;
  readonly agentId: string;
  readonly workloadSocket: string;
  readonly opsPort: number;
}

export interface ProductOptions {
  readonly execPath: string;
  readonly config?: Readonly<Record<string, object>>;
  /** For profiles: `--cpu-prof`. */
  readonly nodeFlags?: readonly string[];
  /**
   * In place of `meshca server run`: a script that takes the path of the configuration, and these
   * arguments.
   */
  readonly server?: { readonly script: string; readonly args: readonly string[] };
}

export async function startProduct(options: ProductOptions): Promise<Product> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'meshca-bench-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const tokens = stack.use(await createTokens());
  const [port, opsPort, httpPort] = (await freePorts(3)) as [number, number, number];
  const ports = { port, opsPort, httpPort };
  const configPath = join(dir, 'server.json');
  writeFileSync(
    configPath,
    JSON.stringify({ ...serverConfig(dir, tokens, ports), ...options.config }),
  );
  const processes = stack.use(new Processes(dir, options.execPath));
  const server =
    options.server === undefined
      ? processes.start('server', ['server', 'run', '--config', configPath], options.nodeFlags)
      : processes.start(
          'server',
          [configPath, ...options.server.args],
          options.nodeFlags,
          options.server.script,
        );
  await ready(server, opsPort, join(dir, 'server.log'));

  const client = new Client(`unix:${adminSocketIn(dir)}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
  });
  stack.defer(() => client.close());
  const admin: Product['admin'] = (method, request = {}) =>
    untypedCall(client, `/meshca.admin.v1.${method}`, request, { deadlineMs: 30_000 });
  const rootsDer = (await admin('Authorities/GetBundle')).rootsDer as Buffer[];
  const bundlePath = join(dir, 'bundle.json');
  writeFileSync(bundlePath, await (await fetch(`http://127.0.0.1:${httpPort}/bundle`)).text());

  const owned = stack.move();
  return {
    dir,
    tokens,
    port,
    opsPort,
    rootsDer,
    admin,
    serverPid: server.pid as number,
    mint: (spiffeId) => mint(admin, spiffeId),
    joinAgent: (name) => joinAgent(admin, name, { port, rootsDer }),
    startAgent: (name, agentOptions = {}) =>
      startAgent(name, agentOptions, { admin, processes, dir, port, bundlePath }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const adminSocketIn = (dir: string): string => join(dir, 'admin.sock');

const serverConfig = (
  dir: string,
  { modulePath, confPath, tokens }: TestTokens,
  ports: { readonly port: number; readonly opsPort: number; readonly httpPort: number },
): object => ({
  trustDomain,
  dataDir: join(dir, 'server'),
  listen: { port: ports.port },
  ops: { port: ports.opsPort },
  http: { plain: { port: ports.httpPort } },
  admin: { socketPath: adminSocketIn(dir) },
  log: { format: 'json' },
  hsm: {
    module: modulePath,
    softhsmConf: confPath,
    // a signer that a loaded machine starves of its processor is no signer that hangs
    deadlineMs: 30_000,
    issuing: { label: tokens.issuing.label, pinFile: tokens.issuing.pinFile },
    root: { label: tokens.root.label, pinFile: tokens.root.pinFile },
  },
  // the limit of one caller would be measured
  limits: { signsPerSecond: 1_000_000, signsBurst: 1_000_000, concurrentCalls: 10_000 },
  attestation: { perSecond: 10_000 },
});

/** Owner of the processes of one product: the server, and agents that are started later. */
class Processes implements AsyncDisposable {
  readonly #dir: string;
  readonly #execPath: string;
  readonly #children: ChildProcess[] = [];

  constructor(dir: string, execPath: string) {
    this.#dir = dir;
    this.#execPath = execPath;
  }

  start(
    name: string,
    args: readonly string[],
    nodeFlags: readonly string[] = [],
    script = productEntry,
  ): ChildProcess {
    const log = openSync(join(this.#dir, `${name}.log`), 'w', 0o600);
    const child = spawn(this.#execPath, [...nodeFlags, script, ...args], {
      stdio: ['ignore', log, log],
    });
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [...this.#children].reverse()) await stop(child);
  }
}

async function mint(admin: Product['admin'], spiffeId: string): Promise<Credential> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const minted = await admin('Certificates/MintX509Svid', {
    spiffeId,
    csrDer: createCsr(privateKey),
    requestId: uuidv7(),
  });
  return { spiffeId, serial: minted.serial, chainDer: minted.chainDer, privateKey };
}

async function joinAgent(
  admin: Product['admin'],
  name: string,
  { port, rootsDer }: Pick<Product, 'port' | 'rootsDer'>,
): Promise<Credential> {
  const { token } = await admin('Tokens/CreateJoinToken', { agentName: name });
  const joining = new Client(`127.0.0.1:${port}`, channelCredentials(rootsDer), {
    'grpc.ssl_target_name_override': 'localhost',
    'grpc.default_authority': 'localhost',
  });
  try {
    return await attestByToken(joining, token as string);
  } finally {
    joining.close();
  }
}

async function startAgent(
  name: string,
  { config = {}, nodeFlags = [] }: NonNullable<Parameters<Product['startAgent']>[1]>,
  server: Pick<Product, 'admin' | 'dir' | 'port'> & {
    readonly processes: Processes;
    readonly bundlePath: string;
  },
): Promise<AgentProcess> {
  const { admin, dir, port, processes, bundlePath } = server;
  const { token, agentId } = await admin('Tokens/CreateJoinToken', { agentName: name });
  const home = join(dir, name);
  mkdirSync(home, { mode: 0o700 });
  const [opsPort] = (await freePorts(1)) as [number];
  const path = join(home, 'agent.json');
  const workloadSocket = join(home, 'workload.sock');
  writeFileSync(
    path,
    JSON.stringify({
      trustDomain,
      serverAddress: `127.0.0.1:${port}`,
      dataDir: join(home, 'state'),
      bootstrap: { bundlePath },
      attestation: { joinToken: { token } },
      workloadApi: { socketPath: workloadSocket },
      localApi: { socketPath: join(home, 'local.sock') },
      ops: { port: opsPort },
      log: { format: 'json' },
      ...config,
    }),
  );
  const agent = processes.start(name, ['agent', 'run', '--config', path], nodeFlags);
  await ready(agent, opsPort, join(dir, `${name}.log`));
  return {
    pid: agent.pid as number,
    agentId: agentId ?? `spiffe://${trustDomain}/meshca/agent/${name}`,
    workloadSocket,
    opsPort,
    [Symbol.asyncDispose]: () => stop(agent),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(timer);
}

async function ready(child: ChildProcess, opsPort: number, logPath: string): Promise<void> {
  const untilMs = performance.now() + 30_000;
  while (performance.now() < untilMs && child.exitCode === null) {
    const response = await fetch(`http://127.0.0.1:${opsPort}/ready`).catch(() => undefined);
    if (response?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(
    `a process of the product did not become ready:\n${readFileSync(logPath, 'utf8').split('\n').slice(-8).join('\n')}`,
  );
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

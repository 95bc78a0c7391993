import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../test/support/ports.ts';
import { createTokens, type TestTokens } from '../test/support/softhsm.ts';
import { Calls } from './calls.ts';
import { startServerProcess, type ServerProcess, type StartOptions } from './server-child.ts';

export const trustDomain = 'drill.test';

export interface World extends AsyncDisposable {
  readonly trustDomain: string;
  readonly dir: string;
  readonly tokens: TestTokens;
  readonly configPath: string;
  readonly dataDir: string;
  readonly databasePath: string;
  readonly adminSocketPath: string;
  readonly port: number;
  readonly opsPort: number;
  readonly calls: Calls;
  /**
   * Writes the configuration again with other settings of `issuance`, and of the further sections,
   * for the next start.
   */
  configure(issuance: object, sections?: object): Promise<void>;
  /**
   * Starts the server on the same database, tokens and ports as before. Resolves at once; see
   * `ready`.
   */
  start(options?: StartOptions): ServerProcess;
}

export interface WorldOptions {
  readonly issuance?: object;
  readonly hsm?: object;
  readonly signers?: number;
  /** Further sections of the configuration. */
  readonly sections?: object;
  /** Default: that of most drills. */
  readonly trustDomain?: string;
  readonly signal: AbortSignal;
}

/** Everything that is issued lives as long (seconds), and agents look at the bundle each second. */
export const livesOf = (seconds: number) => ({
  defaultTtlSeconds: seconds,
  maximumTtlSeconds: seconds,
  agentTtlSeconds: seconds,
  serverTtlSeconds: seconds,
  bundleRefreshHintSeconds: 1,
});

/**
 * Fresh tokens, an empty data directory, ports that are free, a configuration; everything is
 * removed and stopped at the end.
 */
export async function createWorld(options: WorldOptions): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-drill-'));
  const tokens = await createTokens();
  const [port, opsPort] = (await freePorts(2)) as [number, number];
  const dataDir = join(dir, 'data');
  await mkdir(dataDir, { mode: 0o700 });
  const configPath = join(dir, 'server.json');
  const place = { dataDir, port, opsPort, tokens };
  const configure = (issuance: object, sections = options.sections): Promise<void> =>
    writeFile(
      configPath,
      JSON.stringify(configOf(place, { ...options, issuance, sections: sections ?? {} }), null, 2),
    );
  await configure(options.issuance ?? {});
  const adminSocketPath = join(dataDir, 'admin.sock');
  const calls = new Calls({ adminSocketPath, port });
  const children = new Set<ServerProcess>();
  return {
    trustDomain: options.trustDomain ?? trustDomain,
    dir,
    tokens,
    configPath,
    configure,
    dataDir,
    databasePath: join(dataDir, 'meshca.db'),
    adminSocketPath,
    port,
    opsPort,
    calls,
    start: (startOptions = {}) => {
      const child = startServerProcess(configPath, join(dir, 'server.log'), startOptions);
      children.add(child);
      void child.exited.then(() => children.delete(child));
      return child;
    },
    [Symbol.asyncDispose]: async () => {
      calls.close();
      await Promise.all([...children].map((child) => child.kill()));
      await tokens[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function configOf(
  { dataDir, port, opsPort, tokens }: Pick<World, 'dataDir' | 'port' | 'opsPort' | 'tokens'>,
  options: Omit<WorldOptions, 'signal'>,
): object {
  const { issuance, hsm, signers, sections } = options;
  const { issuing, root } = tokens.tokens;
  return {
    trustDomain: options.trustDomain ?? trustDomain,
    dataDir,
    listen: { port },
    ops: { port: opsPort },
    http: { plain: { enabled: false } },
    log: { level: 'info', format: 'json' },
    hsm: {
      module: tokens.modulePath,
      softhsmConf: tokens.confPath,
      signers: signers ?? 2,
      // on a loaded machine a signer may wait long for a processor: it does not hang
      deadlineMs: 30_000,
      ...hsm,
      issuing: { label: issuing.label, pinFile: issuing.pinFile },
      root: { label: root.label, pinFile: root.pinFile },
    },
    issuance: { minimumTtlSeconds: 2, ...issuance },
    attestation: { perSecond: 1000 },
    limits: { signsPerSecond: 1_000_000, signsBurst: 1_000_000 },
    ...sections,
  };
}

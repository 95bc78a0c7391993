import { PkiError } from '../common/errors/index.ts';
import {
  errorFields,
  reloadConfig,
  systemClock,
  systemRandom,
  type Logger,
  type ReloadRequests,
} from '../common/runtime/index.ts';
import { forbidDumps } from '../common/runtime/no-dump.ts';
import { createLogger } from '../common/runtime/pino-logger.ts';
import { returnMemory } from '../common/runtime/return-memory.ts';
import { permissionError } from '../common/unix/path-permission.ts';
import { loadServerConfig, reloadedServerKeys, type ServerConfig } from '../config/index.ts';
import type { ServerDependencies } from './context.ts';
import { linuxBoot } from './rotation.ts';
import { startServer } from './server.ts';
import type { PinChange } from './tokens.ts';

export interface RunServerOptions {
  readonly configPath: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly err: (text: string) => void;
  readonly isTerminal: boolean;
  readonly pid: number;
  readonly uid: number;
  readonly execPath: string;
  /** Passed by the process edge: the memory of the whole process is kept out of core files. */
  readonly platform?: NodeJS.Platform;
  /** The abort stops the server cleanly. */
  readonly signal: AbortSignal;
  /** Its requests make the server read log level, certificates of ports and PINs again. */
  readonly reloads: ReloadRequests;
  readonly acceptRestore?: number;
  readonly faults?: ServerDependencies['faults'];
}

/** After its start a server needs a third less memory than V8 took for it. */
const memoryReturnMs = 3_000;

/**
 * Runs a server until the signal. Returns the exit code: 0 after a clean stop, 2 for a wrong
 * configuration, 1 for any other failed start.
 */
export async function runServer(options: RunServerOptions): Promise<number> {
  const complain = (error: PkiError, exitCode: number): number => {
    options.err(`error ${error.code}: ${error.message}\nnext: ${error.next}\n`);
    return exitCode;
  };
  const load = () =>
    loadServerConfig({
      path: options.configPath ?? options.env['MESHCA_SERVER_CONFIG'],
      env: options.env,
    });
  const loaded = await load();
  if (!loaded.ok)
    return complain(permissionError(loaded.error) ?? loaded.error, exitCodeOf(loaded.error));
  const config = loaded.value;
  const logger = await createLogger({
    ...config.log,
    name: 'meshca-server',
    isTerminal: options.isTerminal,
  });
  // before the PIN and the first private key are in memory
  if (options.platform !== undefined && !forbidDumps(options.platform))
    logger.warn({}, 'this system can not keep the memory of the server out of core files');
  try {
    await using server = await startServer(serverDependencies(options, config, logger));
    logger.info(
      {
        trustDomain: config.trustDomain,
        address: config.listen.address,
        port: server.port,
        opsPort: server.opsPort,
        httpPorts: server.httpPorts,
        federationPorts: server.federationPorts,
        adminSocket: server.adminSocketPath,
      },
      'the server is running',
    );
    await using _reloading = options.reloads.serve(() =>
      reloadConfig({
        started: config,
        load,
        reloadedKeys: reloadedServerKeys,
        apply: async () => logPinChanges(await server.reload(), logger),
        logger,
      }),
    );
    const cancelReturn = systemClock.after(memoryReturnMs, returnMemory);
    await aborted(options.signal);
    cancelReturn();
    logger.info({}, 'the server is stopping');
  } catch (thrown) {
    const error = permissionError(thrown) ?? PkiError.from(thrown);
    logger.fatal(errorFields(error), 'the server could not start');
    return complain(error, exitCodeOf(error));
  }
  return 0;
}

const exitCodeOf = ({ code }: PkiError): number => (code === 'CONFIG_INVALID' ? 2 : 1);

const serverDependencies = (
  { env, pid, uid, execPath, acceptRestore, faults }: RunServerOptions,
  config: ServerConfig,
  logger: Logger,
): ServerDependencies => ({
  config,
  env,
  pid,
  uid,
  execPath,
  clock: systemClock,
  boot: linuxBoot(),
  random: systemRandom,
  logger,
  ...(acceptRestore === undefined ? {} : { acceptRestore }),
  ...(faults === undefined ? {} : { faults }),
});

function logPinChanges(changes: readonly PinChange[], logger: Logger): void {
  for (const { token, refusal } of changes)
    if (refusal === undefined) logger.info({ token }, 'the token took the new PIN');
    else
      logger.error(
        { ...errorFields(refusal), token, alert: true },
        'the new PIN was not taken: the present sessions of the token go on',
      );
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

import { setFlagsFromString } from 'node:v8';
import { PkiError } from '../src/common/errors/index.ts';
import {
  errorFields,
  levelled,
  oneLine,
  reloadConfig,
  systemClock,
  systemRandom,
  type LevelledLogger,
  type Logger,
  type ReloadRequests,
} from '../src/common/runtime/index.ts';
import { forbidDumps } from '../src/common/runtime/no-dump.ts';
import { returnMemory } from '../src/common/runtime/return-memory.ts';
import { version } from '../src/common/runtime/version.ts';
import { permissionError } from '../src/common/unix/path-permission.ts';
import { startAgent, type RunningAgent } from './compose.ts';
import type { AgentEnvironment } from './compose/environment.ts';
import { loadAgentConfig, reloadedAgentKeys, type AgentConfig } from './config.ts';

export interface RunAgentOptions {
  readonly configPath?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Given by the process edge: the memory of the whole process is kept out of core files. */
  readonly platform?: NodeJS.Platform;
  /** Its abort stops the agent cleanly. */
  readonly signal: AbortSignal;
  /** Its requests make the agent read its log level again. */
  readonly reloads: ReloadRequests;
  /** Default: pino on stdout, as the configuration says. */
  readonly logger?: Logger;
}

/** What the start took and left is given back to the system after it. */
const memoryReturnMs = 3_000;

/**
 * Runs an agent until the signal. Returns the exit code: 0 after a clean stop, 2 for a wrong
 * configuration, 1 for any other failed start.
 */
export async function runAgent(options: RunAgentOptions): Promise<number> {
  const { signal, stderr } = options;
  boundHeap();
  const complain = (error: PkiError, exitCode: number): number => {
    stderr.write(`error ${error.code}: ${oneLine(error.message)}\nnext: ${oneLine(error.next)}\n`);
    return exitCode;
  };
  const load = () =>
    loadAgentConfig({
      path: options.configPath ?? options.env['MESHCA_AGENT_CONFIG'],
      env: options.env,
    });
  const loaded = await load();
  if (!loaded.ok)
    return complain(permissionError(loaded.error) ?? loaded.error, exitCodeOf(loaded.error));
  const logger =
    options.logger === undefined
      ? await defaultLogger(loaded.value, options.stdout.isTTY === true)
      : levelled(options.logger, 'debug');
  // before the first private key is in memory
  if (options.platform !== undefined && !forbidDumps(options.platform))
    logger.warn({}, 'this system can not keep the memory of the agent out of core files');
  try {
    const starting = startAgent(environmentOf(loaded.value, logger));
    await using agent = await startedOrStopped(starting, signal);
    if (agent === undefined) {
      logger.info({}, 'the agent was stopped while it started');
      return 0;
    }
    logger.info(
      {
        trustDomain: loaded.value.trustDomain,
        socket: loaded.value.workloadApi.socketPath,
        opsPort: agent.opsPort,
      },
      'the agent is running',
    );
    await using _reloading = options.reloads.serve(() =>
      reloadConfig({
        started: loaded.value,
        load,
        reloadedKeys: reloadedAgentKeys,
        apply: () => Promise.resolve(),
        logger,
      }),
    );
    using _return = returnedMemory();
    await aborted(signal);
    logger.info({}, 'the agent is stopping');
  } catch (thrown) {
    const error = permissionError(thrown) ?? PkiError.from(thrown);
    logger.fatal({ ...errorFields(error) }, 'the agent could not start');
    return complain(error, exitCodeOf(error));
  }
  return 0;
}

function boundHeap(): void {
  // an agent lives for months beside what it serves: a small young generation costs it some
  // collections and saves about 10 MiB with 1,000 SVIDs, 50 MiB with 20,000 entries
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--max-semi-space-size=2');
  // One agent per node, idle most of the time: V8 is to collect early rather than let short
  // connections grow the heap. --optimize-for-size would save 7 of 143 MiB after thousands of them,
  // for more CPU of each.
  setFlagsFromString('--heap-growing-percent=40');
}

/** Gives back what the start took, unless the agent ends before. */
function returnedMemory(): Disposable {
  return { [Symbol.dispose]: systemClock.after(memoryReturnMs, returnMemory) };
}

const exitCodeOf = ({ code }: PkiError): number => (code === 'CONFIG_INVALID' ? 2 : 1);

const environmentOf = (config: AgentConfig, logger: Logger): AgentEnvironment => ({
  config,
  logger,
  version,
  uid: process.getuid?.() ?? 0,
  pid: process.pid,
  clock: systemClock,
  random: systemRandom,
});

/** What a start that is under way may still take to end in order. */
const startGraceMs = 2_000;

/**
 * The agent, or undefined where the signal came and the start did not end within the grace: one that
 * waits, for a disk or a file system of the network, does not keep anybody from ending it. An agent
 * that stands after that is disposed.
 */
async function startedOrStopped(
  starting: Promise<RunningAgent>,
  signal: AbortSignal,
): Promise<RunningAgent | undefined> {
  const stopped = aborted(signal).then(() => systemClock.sleep(startGraceMs, { unref: true }));
  const first = await Promise.race([starting, stopped]);
  if (first !== undefined) return first;
  starting.then(
    (agent) => agent[Symbol.asyncDispose](),
    () => {},
  );
  return undefined;
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

async function defaultLogger({ log }: AgentConfig, isTerminal: boolean): Promise<LevelledLogger> {
  const { createLogger } = await import('../src/common/runtime/pino-logger.ts');
  return createLogger({ ...log, name: 'meshca-agent', isTerminal });
}

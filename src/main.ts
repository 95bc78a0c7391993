#!/usr/bin/env node
import { ok } from './common/errors/index.ts';
import { ReloadRequests } from './common/runtime/index.ts';
import { runCli } from './cli/program.ts';
import type { CliContext, CliDependencies } from './cli/context.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { duration } from './cli/output.ts';

/**
 * The process edge: the one place that reads argv, environment, signals and streams. Server and
 * agent are loaded only by their own command.
 */
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.on(name, () => stop.abort(new Error(name)));
// `npm run meshca` names itself here: killed without a word, it leaves no orphan
const startedBy = process.env['MESHCA_STARTED_BY'];
delete process.env['MESHCA_STARTED_BY'];
if (startedBy !== undefined)
  setInterval(() => {
    if (process.ppid !== Number(startedBy)) stop.abort(new Error('the starter is gone'));
  }, 500).unref();
// a reader that went away (| head) is no failure
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(
    `error OUTPUT_FAILED: standard output can not be written (${error.code ?? error.message})\n`,
  );
  process.exit(1);
});

const isTerminal = process.stdout.isTTY === true;

/**
 * For server and agent alone: SIGHUP ends any other command. On a terminal it means that the
 * terminal is gone.
 */
function reloadsAtHangUp(): ReloadRequests {
  const reloads = new ReloadRequests();
  process.on('SIGHUP', () => (isTerminal ? stop.abort(new Error('SIGHUP')) : reloads.request()));
  return reloads;
}

/** undefined where standard input is no terminal: silence is not consent. */
async function askOnTerminal(question: string): Promise<boolean | undefined> {
  if (process.stdin.isTTY !== true) return undefined;
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await terminal.question(question, { signal: stop.signal })).trim() === 'yes';
  } catch {
    return false;
  } finally {
    terminal.close();
  }
}

const dependencies: CliDependencies = {
  runServer: async ({ configPath, acceptRestore }) => {
    const reloads = reloadsAtHangUp();
    const { runServer } = await import('./compose/index.ts');
    return runServer({
      reloads,
      ...(acceptRestore === undefined ? {} : { acceptRestore }),
      configPath,
      env: process.env,
      err: (text) => process.stderr.write(text),
      isTerminal,
      pid: process.pid,
      uid: process.getuid?.() ?? 0,
      execPath: process.execPath,
      platform: process.platform,
      signal: stop.signal,
    });
  },
  restore: async ({ configPath, from }) => {
    const { restoreDatabase } = await import('./compose/index.ts');
    return restoreDatabase({ configPath, from, env: process.env, pid: process.pid });
  },
  restoreShow: async ({ configPath }) => {
    const { lostWith } = await import('./compose/index.ts');
    return lostWith({ configPath, env: process.env });
  },
  runAgent: async ({ configPath }) => {
    const reloads = reloadsAtHangUp();
    const { runAgent } = await import('../sidecar/main.ts');
    return runAgent({
      reloads,
      configPath,
      env: process.env,
      stdout: process.stdout,
      stderr: process.stderr,
      platform: process.platform,
      signal: stop.signal,
    });
  },
  validate: async (kind, path) => {
    if (kind === 'server') {
      const { loadServerConfig } = await import('./config/index.ts');
      const loaded = await loadServerConfig({ path, env: process.env });
      if (!loaded.ok) return loaded;
      const { trustDomain, listen, issuance, hsm } = loaded.value;
      return ok({
        summary: [
          ['trust domain', trustDomain],
          ['listens on', `${listen.address}:${listen.port}`],
          ['workload SVIDs live', duration(issuance.defaultTtlSeconds)],
          ['token', `${hsm.issuing.label} in ${hsm.module}`],
        ],
      });
    }
    const { configuredOutageSeconds, loadAgentConfig } = await import('../sidecar/config.ts');
    const loaded = await loadAgentConfig({ path, env: process.env });
    if (!loaded.ok) return loaded;
    const { trustDomain, workloadApi } = loaded.value;
    return ok({
      summary: [
        ['trust domain', trustDomain],
        ['Workload API', workloadApi.socketPath],
        [
          'survives for certain an outage of',
          duration(Math.floor(configuredOutageSeconds(loaded.value))),
        ],
      ],
    });
  },
  checkMachine: async (kind, path) => {
    const uid = process.getuid?.() ?? 0;
    const nodeVersion = process.version;
    if (kind === 'server') {
      const { loadServerConfig } = await import('./config/index.ts');
      const loaded = await loadServerConfig({ path, env: process.env });
      if (!loaded.ok) return loaded;
      const { checkServerMachine } = await import('./compose/index.ts');
      const { env, execPath } = process;
      return ok(
        await checkServerMachine({ config: loaded.value, env, execPath, uid, nodeVersion }),
      );
    }
    const { loadAgentConfig } = await import('../sidecar/config.ts');
    const loaded = await loadAgentConfig({ path, env: process.env });
    if (!loaded.ok) return loaded;
    const { checkAgentMachine } = await import('../sidecar/doctor.ts');
    return ok(await checkAgentMachine({ config: loaded.value, uid, nodeVersion }));
  },
  runCeremony: async ({ planPath, dryRun, yes, show }) => {
    const { runCeremony } = await import('./ceremony/index.ts');
    const { silentLogger, systemClock, systemRandom } = await import('./common/runtime/index.ts');
    return runCeremony({
      planPath,
      dryRun,
      env: process.env,
      execPath: process.execPath,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      show,
      confirm: yes ? () => Promise.resolve(true) : askOnTerminal,
    });
  },
  checkTranscript: async (input) => (await import('./ceremony/index.ts')).checkTranscript(input),
  jsonSchema: async (kind) =>
    kind === 'server'
      ? (await import('./config/index.ts')).serverJsonSchema()
      : (await import('../sidecar/config.ts')).agentJsonSchema(),
};

const context: CliContext = {
  env: process.env,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  readStdin: async () => {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  },
  ask: askOnTerminal,
  terminal: {
    isTerminal,
    columns: process.stdout.columns ?? 200,
    color: isTerminal && process.env['NO_COLOR'] === undefined,
  },
  signal: stop.signal,
  now: () => Math.floor(Date.now() / 1000),
  dependencies,
};

const exitCode = await runCli(process.argv.slice(2), context);
// an interrupted command leaves calls and questions behind that would hold the process
if (exitCode === exitCodes.interrupted) process.exit(exitCode);
process.exitCode = exitCode;
// anything that still holds the loop after a finished command is a leak that would hang scripts
setTimeout(() => process.exit(exitCode), 2_000).unref();

import { writeFileSync } from 'node:fs';
import { PkiError } from '../src/common/errors/index.ts';
import { systemClock, systemRandom } from '../src/common/runtime/index.ts';
import { createLogger } from '../src/common/runtime/pino-logger.ts';
import { loadServerConfig } from '../src/config/index.ts';
import { startServer } from '../src/compose/index.ts';
import { linuxBoot } from '../src/compose/rotation.ts';
import type { Ledger } from '../src/ledger/index.ts';
import { LoopWatch } from './loop-watch.ts';
import { fillRevocations } from './revocation-fill.ts';
import type { FromServer, ServerProcessOptions, ToServer } from './server-messages.ts';

// The product's server as its own main starts it, with the hooks of the drills. Ends with its IPC
// channel.
//
//   node server-process.js CONFIG OPTIONS_AS_JSON

const [, , configPath, optionsText] = process.argv as [string, string, string, string];
const options = JSON.parse(optionsText) as ServerProcessOptions;
const tell = (message: FromServer): void => {
  if (process.connected) process.send?.(message);
};

const loop = new LoopWatch();
let store: Ledger | undefined;
let armed = options.arm;
let signerPids: () => readonly number[] = () => [];

/** Called between the steps of the product. A kill(2) of the own process does not return. */
function step(name: string): void {
  if (armed === undefined || armed.step !== name) return;
  armed = { ...armed, after: armed.after - 1 };
  if (armed.after > 0) return;
  const { victim } = armed;
  armed = undefined;
  if (victim === 'server') process.kill(process.pid, 'SIGKILL');
  const [pid] = signerPids();
  if (pid === undefined) return;
  process.kill(pid, 'SIGKILL');
  tell({ type: 'signer-killed', pid, step: name });
}

const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('SIGINT', () => undefined);
process.on('disconnect', () => stop.abort());

const loaded = await loadServerConfig({ path: configPath, env: {} });
if (!loaded.ok) throw loaded.error;
const logger = await createLogger({
  level: loaded.value.log.level,
  format: 'json',
  name: 'meshca-server',
  isTerminal: false,
});
try {
  await using server = await startServer({
    config: loaded.value,
    env: {},
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    execPath: process.execPath,
    clock: systemClock,
    boot: linuxBoot(),
    random: systemRandom,
    logger,
    faults: {
      step,
      onDurable: () => step('commit-durable'),
      onStore: (opened) => (store = opened),
      ...(options.synchronous === 'OFF' ? { synchronous: 'OFF' } : {}),
    },
  });
  signerPids = () => server.signerPids();
  process.on('message', (message: ToServer) => {
    if (message.type === 'arm') armed = message.arm;
    if (message.type === 'invalidate-sessions') server.invalidateSessions();
    if (message.type === 'signer-pids')
      tell({ type: 'signer-pids', pids: [...server.signerPids()] });
    if (message.type === 'loop') tell({ type: 'loop', figures: loop.take() });
    if (message.type === 'fill')
      fillRevocations(store as Ledger, message.fill).then(
        () => tell({ type: 'filled', failure: '' }),
        (thrown: unknown) => tell({ type: 'filled', failure: PkiError.from(thrown).message }),
      );
  });
  tell({ type: 'ready', port: server.port });
  await new Promise<void>((resolve) => {
    if (stop.signal.aborted) resolve();
    stop.signal.addEventListener('abort', () => resolve(), { once: true });
  });
} catch (thrown) {
  const error = PkiError.from(thrown);
  tell({ type: 'failed', code: error.code, message: error.message });
  writeFileSync(process.stderr.fd, `${error.code}: ${error.message}\n${error.stack ?? ''}\n`);
  process.exitCode = 1;
}
process.disconnect?.();

import { getuid, argv, cwd, env, execPath, exit, pid, stderr, stdout } from 'node:process';
import { PkiError } from '../src/common/errors/index.ts';
import { lastLines } from './children.ts';
import { pathsOf } from './configs.ts';
import { openHome, RunRecord } from './home.ts';
import { parseOptions, usage, type DemoOptions } from './options.ts';
import { Orchestrator } from './orchestrator.ts';
import { tryNext } from './plain.ts';
import { Teller } from './teller.ts';

/** Runs the demonstration until a person, a failure or the time limit ends it. Returns the exit code. */
async function main(options: DemoOptions): Promise<number> {
  const home = openHome(options.home);
  const over = Promise.withResolvers<PkiError | undefined>();
  const end = (): void => over.resolve(undefined);
  const fail = (error: PkiError): void => over.resolve(error);
  endOnSignals(end, fail);

  const { record, recovered } = await RunRecord.acquire(home, pid);
  const teller = new Teller({
    json: options.json,
    terminal: stdout.isTTY === true && env['TERM'] !== 'dumb',
    color: (env['NO_COLOR'] ?? '') === '',
    commands: tryNext(pathsOf(home).adminSocket, pathsOf(home).agentSocket),
    onTraffic: () => {
      if (options.seconds !== undefined) setTimeout(end, options.seconds * 1000);
    },
  });
  if (recovered.length > 0)
    teller.tell({
      kind: 'step',
      text: `ended the processes that a killed demonstration left: ${recovered.join(', ')}`,
    });
  const ticker = setInterval(() => {
    teller.tick();
    if (!record.intact()) fail(homeGone(home.root));
  }, 1000);
  const orchestrator = new Orchestrator({
    home,
    record,
    env,
    node: execPath,
    uid: getuid?.() ?? -1,
    product: options.product,
    emit: (event) => teller.tell(event),
    onFailure: fail,
  });
  teller.open();
  orchestrator.start().catch((thrown: unknown) => fail(PkiError.from(thrown, 'DEMO_PART_FAILED')));
  const failure = await over.promise;
  teller.tell({ kind: 'step', text: 'stopping' });
  try {
    await orchestrator.stop();
  } finally {
    orchestrator.kill();
  }
  clearInterval(ticker);
  teller.close();
  record.release();
  if (failure !== undefined) {
    report(failure);
    return 1;
  }
  teller.farewell();
  return 0;
}

function endOnSignals(end: () => void, fail: (error: PkiError) => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  // `npm start` sets this, so that no orphan remains if it is killed
  const startedBy = env['MESHCA_STARTED_BY'];
  delete env['MESHCA_STARTED_BY'];
  if (startedBy !== undefined)
    setInterval(() => {
      if (process.ppid !== Number(startedBy)) end();
    }, 500).unref();
  // the reader of our output has ended: end in order, as after Ctrl-C
  stdout.on('error', end);
  // after any failure in this process the started parts are ended in order
  const broken = (thrown: unknown): void => fail(PkiError.from(thrown));
  process.on('uncaughtException', broken);
  process.on('unhandledRejection', broken);
}

const homeGone = (path: string): PkiError =>
  new PkiError(
    'DEMO_HOME_GONE',
    `the folder ${path} was deleted, or taken by another demonstration, while this one ran`,
  );

/** For a person: what failed, the end of its log, where the rest is, what to do. */
function report(error: PkiError): void {
  const { log } = error.detail;
  stderr.write(`\nmeshca demo: ${error.code}: ${error.message}\n`);
  if (typeof log === 'string') {
    for (const line of lastLines(log, 12)) stderr.write(`  ${line}\n`);
    stderr.write(`whole log: ${log}\n`);
  }
  stderr.write(`next: ${error.next}\n`);
}

try {
  const options = parseOptions(argv.slice(2), env, cwd());
  if (options.help) stdout.write(usage);
  else exit(await main(options));
} catch (thrown) {
  report(PkiError.from(thrown));
  exit(1);
}

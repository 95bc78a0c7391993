import { getuid, argv, cwd, env, execPath, exit, pid, stderr, stdout } from 'node:process';
import { PkiError } from '../src/common/errors/index.ts';
import { lastLines } from './children.ts';
import { pathsOf } from './configs.ts';
import { openHome, RunRecord } from './home.ts';
import { apply, newModel, nextSecond, type DemoEvent } from './model.ts';
import { parseOptions, usage, type DemoOptions } from './options.ts';
import { Orchestrator } from './orchestrator.ts';
import { draw } from './picture.ts';
import { farewell, plainLine, summary, trafficLine, tryNext } from './plain.ts';
import { Screen } from './screen.ts';

const trafficEverySeconds = 5;

async function main(options: DemoOptions): Promise<number> {
  const home = openHome(options.home);
  const model = newModel(Date.now());
  const commands = tryNext(pathsOf(home).adminSocket, pathsOf(home).agentSocket);
  const picture = stdout.isTTY === true && !options.json && env['TERM'] !== 'dumb';
  const color = (env['NO_COLOR'] ?? '') === '';
  const screen = picture
    ? new Screen(stdout, (size) =>
        draw(model, size, { color, nowMs: Date.now(), tryNext: commands }),
      )
    : undefined;
  const say = (text: string): void => {
    if (picture) return;
    (options.json ? stderr : stdout).write(text);
  };

  const over = Promise.withResolvers<PkiError | undefined>();
  const end = (): void => over.resolve(undefined);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  // the reader of our lines is gone: end in order, as on Ctrl-C
  stdout.on('error', end);
  // whatever goes wrong in here, the parts that were started are ended in order
  const broken = (thrown: unknown): void => over.resolve(PkiError.from(thrown));
  process.on('uncaughtException', broken);
  process.on('unhandledRejection', broken);

  const { record, recovered } = await RunRecord.acquire(home, pid);
  let said = false;
  const emit = (event: DemoEvent): void => {
    const line = apply(model, event, Date.now());
    if (line !== undefined) say(plainLine(line));
    if (model.firstRequestMs === undefined || said) return;
    said = true;
    if (!options.json) say(`${['Try next:', ...commands].join('\n  ')}\n`);
    if (options.seconds !== undefined) setTimeout(end, options.seconds * 1000);
  };
  if (recovered.length > 0)
    emit({
      kind: 'step',
      text: `ended what a killed demonstration left behind: ${recovered.join(', ')}`,
    });

  let second = 0;
  const ticker = setInterval(() => {
    nextSecond(model);
    second += 1;
    if (!record.intact())
      over.resolve(
        new PkiError(
          'DEMO_HOME_GONE',
          `the folder ${home.root} was deleted, or taken by another demonstration, while this one ran`,
        ),
      );
    if (second % trafficEverySeconds === 0 && model.firstRequestMs !== undefined)
      say(trafficLine(model, Date.now()));
  }, 1000);
  const orchestrator = new Orchestrator({
    home,
    record,
    env,
    node: execPath,
    uid: getuid?.() ?? -1,
    product: options.product,
    emit,
    onFailure: (error) => over.resolve(error),
  });
  screen?.open();
  orchestrator
    .start()
    .catch((thrown: unknown) => over.resolve(PkiError.from(thrown, 'DEMO_PART_FAILED')));
  const failure = await over.promise;
  emit({ kind: 'step', text: 'stopping' });
  try {
    await orchestrator.stop();
  } finally {
    orchestrator.kill();
  }
  clearInterval(ticker);
  screen?.close();
  record.release();
  if (failure !== undefined) {
    report(failure);
    return 1;
  }
  if (picture) stdout.write(farewell(model));
  if (options.json) stdout.write(summary(model));
  else say(trafficLine(model, Date.now()));
  return 0;
}

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

// Test files in processes of node's test runner, judged more strictly than it judges itself.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { foreground, inRoot, projectEnvironment, projectNode, ScriptError } from './lib.mjs';

/**
 * Runs the files, in this order. The closing lines are the runner's summary.
 *
 * @param {readonly string[]} files
 * @param {{ concurrency: number, options?: readonly string[], environment?: object }} settings
 * @returns {Promise<number>} the runner's exit code; throws when a test was skipped or a file has none
 */
export async function runTests(files, { concurrency, options = [], environment = {} }) {
  const scratch = mkdtempSync(join(tmpdir(), 'meshca-test-'));
  try {
    const [plan, counts] = [join(scratch, 'plan.json'), join(scratch, 'counts.json')];
    const entries = entriesOf(files, scratch);
    writeFileSync(
      plan,
      JSON.stringify({
        entries,
        concurrency,
        // for a test that hangs: no other test comes near it
        timeoutMs: 600_000,
        options: ['--enable-source-maps', ...options],
      }),
    );
    const code = await foreground(
      projectNode,
      [inRoot('scripts', 'test-runner.mjs'), plan, counts],
      { env: projectEnvironment(environment) },
    );
    const counted = readFileSync(counts, 'utf8');
    // a runner that was ended has counted nothing
    if (counted === '') return code || 1;
    const results = JSON.parse(counted);
    const times = timesOf(files, results.fileMs);
    keepTimes(times);
    if (code !== 0) return code;
    judge(results, options.length > 0 ? [] : files.filter((file) => !times.has(file)));
    return 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Most unit test files that share a process. */
const shareMaximum = 24;

/**
 * What processes are started with, in the order of the files. Unit tests, which neither listen nor
 * write, share processes: most take less time than to load the sources. Every other file has its own.
 */
function entriesOf(files, scratch) {
  const folder = inRoot('dist', 'test', 'unit') + sep;
  const units = files.filter((file) => file.startsWith(folder));
  const perProcess = Math.ceil(units.length / Math.ceil(units.length / shareMaximum));
  const entries = files.map((file) => {
    const at = units.indexOf(file);
    if (at === -1) return file;
    const entry = join(scratch, `unit-${Math.floor(at / perProcess) + 1}.mjs`);
    appendFileSync(entry, `import ${JSON.stringify(pathToFileURL(file).href)};\n`);
    return entry;
  });
  return [...new Set(entries)];
}

/** Milliseconds of each file that had a test: of the compiled file or of its source. */
function timesOf(files, fileMs) {
  const sourceOf = (file) => inRoot(relative(inRoot('dist'), file).replace(/\.js$/, '.ts'));
  return new Map(
    files.flatMap((file) => {
      const ms = fileMs[file] ?? fileMs[sourceOf(file)];
      return ms === undefined ? [] : [[file, ms]];
    }),
  );
}

/** Writes the seconds of each file, the longest first, to dist/test-times.txt. */
function keepTimes(times) {
  const lines = [...times]
    .sort(([, one], [, other]) => other - one)
    .map(([file, ms]) => `${(ms / 1000).toFixed(1).padStart(8)}  ${relative(inRoot(), file)}\n`);
  writeFileSync(inRoot('dist', 'test-times.txt'), lines.join(''));
}

/** Refuses what Node's runner lets pass: no test ran, or a test was left out. */
function judge({ tests, skipped, todo }, emptyFiles) {
  if (tests === 0) throw new ScriptError('no test ran');
  if (emptyFiles.length > 0) throw new ScriptError(`no test in ${emptyFiles.join(', ')}`);
  if (skipped + todo > 0)
    throw new ScriptError(
      `${skipped} tests were skipped and ${todo} are to do: what is missing must fail, not be skipped`,
    );
}

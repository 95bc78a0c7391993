// Node's test runner on compiled test files, judged more strictly than it judges itself.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { foreground, inRoot, projectEnvironment, projectNode, ScriptError } from './lib.mjs';

/**
 * Runs the files. The closing lines are the runner's summary.
 *
 * @returns {Promise<number>} the runner's exit code; throws when a test was skipped or none ran
 */
export async function runTests(files, options = [], environment = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'meshca-test-'));
  try {
    const counts = join(scratch, 'counts.json');
    const code = await foreground(
      projectNode,
      [
        '--enable-source-maps',
        '--test',
        // Three at a time: the long tests wait for the ends of lives most of the time, and more than
        // three would starve the processes of integration tests on two cores. The limit is for a test
        // that hangs: no other test comes near it.
        '--test-concurrency=3',
        '--test-timeout=600000',
        '--test-reporter=spec',
        '--test-reporter-destination=stdout',
        `--test-reporter=${inRoot('scripts', 'count-reporter.mjs')}`,
        `--test-reporter-destination=${counts}`,
        ...options,
        ...files,
      ],
      { env: projectEnvironment(environment) },
    );
    const results = JSON.parse(readFileSync(counts, 'utf8'));
    keepTimes(results);
    return code === 0 ? judge(results) : code;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Writes the seconds of each file, the longest first, to dist/test-times.txt. */
function keepTimes({ fileMs }) {
  const lines = Object.entries(fileMs)
    .sort(([, one], [, other]) => other - one)
    .map(([file, ms]) => `${(ms / 1000).toFixed(1).padStart(8)}  ${relative(inRoot(), file)}\n`);
  writeFileSync(inRoot('dist', 'test-times.txt'), lines.join(''));
}

/** Refuses what Node's runner lets pass: no test ran, or a test was left out. */
function judge({ tests, skipped, todo, emptyFiles }) {
  if (tests === 0) throw new ScriptError('no test ran');
  if (emptyFiles.length > 0) throw new ScriptError(`no test in ${emptyFiles.join(', ')}`);
  if (skipped + todo > 0)
    throw new ScriptError(
      `${skipped} tests were skipped and ${todo} are to do: what is missing must fail, not be skipped`,
    );
  return 0;
}

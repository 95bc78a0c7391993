// Installs what is missing, then lint, types, build and tests.
//
//   npm test                                     everything npm test -- unit/spiffe integration/hsm
//   test files whose path below test/ starts with or contains one of these npm test -- unit
//   --test-name-pattern=serial  options that start with "--" go to node --test
//
// The closing lines are the summary of node's test runner. Exit code 1 when a test failed, was
// skipped, or none ran.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { build } from './build.mjs';
import { filesBelow, foreground, inRoot, main, projectNode, ScriptError } from './lib.mjs';
import { lint } from './lint.mjs';
import { setup } from './setup.mjs';

// The cheap ones first, so that a plain mistake shows early.
const kinds = ['architecture', 'unit', 'compliance', 'fuzz', 'integration', 'interop', 'fault'];

await main(async (args) => {
  const filters = args
    .filter((arg) => !arg.startsWith('--'))
    .map((arg) => arg.replace(/^(dist\/)?test\//, '').replace(/(\.test)?\.(ts|js)$/, ''));
  const options = args.filter((arg) => arg.startsWith('--'));
  setup({ purpose: 'test' });
  const style = await lint({ types: false });
  if (style !== 0) throw new ScriptError('lint has findings (above); no test was run');
  build({ checkGenerated: true });

  const folder = inRoot('dist', 'test');
  const files = kinds
    .flatMap((kind) => filesBelow(join(folder, kind), (path) => path.endsWith('.test.js')))
    .filter(
      (path) =>
        filters.length === 0 || filters.some((filter) => relative(folder, path).includes(filter)),
    );
  if (files.length === 0)
    throw new ScriptError(
      filters.length > 0 ? `no test file matches ${filters.join(', ')}` : 'there are no tests',
    );

  const scratch = mkdtempSync(join(tmpdir(), 'meshca-test-'));
  try {
    const counts = join(scratch, 'counts.json');
    const code = await foreground(projectNode, [
      '--enable-source-maps',
      '--test',
      // Two at a time: integration tests spend their time in other processes, more would starve
      // those on two cores. The limit is for what hangs: nothing comes near it, on a slow machine
      // neither.
      '--test-concurrency=2',
      '--test-timeout=600000',
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${inRoot('scripts', 'count-reporter.mjs')}`,
      `--test-reporter-destination=${counts}`,
      ...options,
      ...files,
    ]);
    return code === 0 ? judge(JSON.parse(readFileSync(counts, 'utf8'))) : code;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

/** What node's runner lets pass and we do not: nothing ran, or something was left out. */
function judge({ tests, skipped, todo, emptyFiles }) {
  if (tests === 0) throw new ScriptError('no test ran');
  if (emptyFiles.length > 0) throw new ScriptError(`no test in ${emptyFiles.join(', ')}`);
  if (skipped + todo > 0)
    throw new ScriptError(
      `${skipped} tests were skipped and ${todo} are to do: what is missing must fail, not be skipped`,
    );
  return 0;
}

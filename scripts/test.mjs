// Installs what is missing, then lint, types, build and tests.
//
//   npm test                      everything but what npm run interop runs
//   npm test -- unit/spiffe       test files whose path below test/ contains one of the words
//   npm test -- unit --test-name-pattern=serial
//                                 options that start with "--" go to node --test
//
// The closing lines are the summary of node's test runner. Exit code 1 when a test failed, was
// skipped, or none ran.
import { join, relative } from 'node:path';
import { build } from './build.mjs';
import { filesBelow, inRoot, main, ScriptError } from './lib.mjs';
import { lint } from './lint.mjs';
import { runTests } from './run-tests.mjs';
import { setup } from './setup.mjs';

// Those that show a plain mistake come first, then the long ones, and small ones fill the end.
const kinds = ['architecture', 'unit', 'fault', 'integration', 'interop', 'compliance', 'fuzz'];

await main(async (args) => {
  const filters = args
    .filter((arg) => !arg.startsWith('--'))
    .map((arg) => arg.replace(/^(dist\/)?test\//, '').replace(/(\.test)?\.(ts|js)$/, ''));
  const options = args.filter((arg) => arg.startsWith('--'));
  setup({ purpose: 'test' });
  const style = await lint({ types: false });
  if (style !== 0) throw new ScriptError('lint has findings (above); no test was run');
  await build({ checkGenerated: true });

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

  // The long tests wait most of the time, so that two cores have work for four.
  return runTests(files, { concurrency: 4, options });
});

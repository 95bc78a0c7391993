// The product against foreign programs: clients in other languages, and judges of certificates.
//
//   npm run interop                   all of it
//   npm run interop -- clients        test files whose path below test/interop contains a word
//
// Installs and builds what is missing of what these files start. Downloads and builds are kept in
// ${XDG_CACHE_HOME:-~/.cache}/meshca. The closing lines are the summary of node's test runner.
import { relative } from 'node:path';
import { build } from './build.mjs';
import { generateStubs } from './client-stubs.mjs';
import { foreignNeeds } from './foreign-needs.mjs';
import { buildForeignPrograms } from './foreign.mjs';
import { filesBelow, inRoot, main, ScriptError } from './lib.mjs';
import { runTests } from './run-tests.mjs';
import { setup } from './setup.mjs';

await main(async (args) => {
  const filters = args.filter((arg) => !arg.startsWith('--'));
  const options = args.filter((arg) => arg.startsWith('--'));
  setup({ purpose: 'test' });
  await build();
  const folder = inRoot('dist', 'test', 'interop');
  const files = filesBelow(folder, (path) => path.endsWith('.interop.js')).filter(
    (path) =>
      filters.length === 0 || filters.some((filter) => relative(folder, path).includes(filter)),
  );
  if (files.length === 0) throw new ScriptError(`no interop file matches ${filters.join(', ')}`);
  const say = (line) => process.stderr.write(`interop: ${line}\n`);
  const wanted = foreignNeeds(files);
  // the control planes are examples of the clients that the stubs belong to
  if (wanted.has('controlPlanes')) generateStubs({ check: true, say });
  const programs = buildForeignPrograms({ say, wanted });
  return runTests(files, {
    // some measure, so that two cores have no more than a little beside them
    concurrency: 3,
    options,
    environment: { MESHCA_FOREIGN_PROGRAMS: JSON.stringify(programs) },
  });
});

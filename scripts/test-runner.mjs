// Runs test files in the order given: the command line of node sorts them. scripts/run-tests.mjs
// starts it, under the Node of the project.
//
//   node scripts/test-runner.mjs PLAN COUNTS
//
// PLAN: a file with JSON, { entries, concurrency, timeoutMs, options }. Each entry is a file that runs
// in a process of its own, with these options of node. COUNTS: where the counts of the run go.
import { createWriteStream, readFileSync } from 'node:fs';
import { run } from 'node:test';
import { spec as Spec } from 'node:test/reporters';
import countReporter from './count-reporter.mjs';

const [plan, counts] = process.argv.slice(2);
const { entries, concurrency, timeoutMs, options } = JSON.parse(readFileSync(plan, 'utf8'));
const events = run({ files: entries, concurrency, timeout: timeoutMs, execArgv: options });
events.on('test:summary', ({ file, success }) => {
  // the one without a file is of all
  if (file === undefined && !success) process.exitCode = 1;
});
events.compose(new Spec()).pipe(process.stdout);
events.compose(countReporter).pipe(createWriteStream(counts));

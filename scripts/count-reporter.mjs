// A reporter of node's test runner that writes the final counts as JSON, for scripts/run-tests.mjs to
// judge, and the milliseconds of each file: the sum of its tests of the first level. A test counts for
// the file that it stands in, and for the one that its process was started with.
export default async function* countReporter(events) {
  const counts = { tests: 0, passed: 0, failed: 0, skipped: 0, todo: 0 };
  const fileMs = {};
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // a process without any test is reported as a test that bears the name of its file
    if (data.nesting === 0 && data.name === data.file && data.details?.type !== 'suite') {
      if (type === 'test:fail') counts.failed += 1;
      continue;
    }
    if (data.nesting === 0)
      for (const file of new Set([data.file, data.entryFile]))
        if (file !== undefined) fileMs[file] = (fileMs[file] ?? 0) + data.details.duration_ms;
    if (data.details?.type === 'suite') continue;
    counts.tests += 1;
    if (data.skip !== undefined) counts.skipped += 1;
    else if (data.todo !== undefined) counts.todo += 1;
    else if (type === 'test:pass') counts.passed += 1;
    else counts.failed += 1;
  }
  yield JSON.stringify({ ...counts, fileMs });
}

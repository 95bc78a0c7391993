// A reporter for node --test that writes the final counts as JSON, for scripts/run-tests.mjs to judge,
// and the milliseconds of each file: the sum of its tests of the first level.
export default async function* countReporter(events) {
  const counts = { tests: 0, passed: 0, failed: 0, skipped: 0, todo: 0, emptyFiles: [] };
  const fileMs = {};
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.nesting === 0 && data.file !== undefined && data.name !== data.file)
      fileMs[data.file] = (fileMs[data.file] ?? 0) + (data.details?.duration_ms ?? 0);
    if (data.details?.type === 'suite') continue;
    // A file without any test is reported as a test that bears the file's name.
    if (data.nesting === 0 && data.name === data.file) {
      if (type === 'test:pass') counts.emptyFiles.push(data.file);
      continue;
    }
    counts.tests += 1;
    if (data.skip !== undefined) counts.skipped += 1;
    else if (data.todo !== undefined) counts.todo += 1;
    else if (type === 'test:pass') counts.passed += 1;
    else counts.failed += 1;
  }
  yield JSON.stringify({ ...counts, fileMs });
}

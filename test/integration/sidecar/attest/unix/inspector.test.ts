import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import { patienceMs, until } from '../../../../support/until.ts';
import { startInspector } from '../../../../../sidecar/attest/unix/inspector.ts';

const folder = await mkdtemp(join(tmpdir(), 'inspect-'));
after(() => rm(folder, { recursive: true, force: true }));

function sparse(name: string, bytes: number): string {
  const file = join(folder, name);
  writeFileSync(file, '');
  truncateSync(file, bytes);
  return file;
}

test('a regular file is hashed and compared with what the agent sees at a path', async () => {
  using inspector = startInspector({ clock: systemClock, deadlineMs: patienceMs });
  const sha256 = createHash('sha256').update(readFileSync('/bin/sleep')).digest('hex');
  assert.deepEqual(
    await inspector.inspect(1, { file: '/bin/sleep', expectedPath: '/bin/sleep', hash: true }),
    { samePath: true, unlinked: false, sha256 },
  );
  assert.deepEqual(
    await inspector.inspect(1, { file: '/bin/sleep', expectedPath: '/bin/cat', hash: false }),
    { samePath: false, unlinked: false },
  );
  assert.deepEqual(
    await inspector.inspect(1, { file: '/bin/sleep', expectedPath: '/no/such/file', hash: false }),
    { samePath: false, unlinked: false },
  );
});

test('a FIFO, a device and a file that is gone have no hash and do not stop anything', async () => {
  using inspector = startInspector({ clock: systemClock, deadlineMs: patienceMs });
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  for (const file of [fifo, '/dev/zero', folder, join(folder, 'missing')]) {
    const found = await inspector.inspect(1, { file, hash: true });
    assert.equal(found.sha256, undefined, file);
    assert.equal(typeof found.problem, 'string', file);
  }
});

test('a file above the limit is not read', async () => {
  using inspector = startInspector({
    clock: systemClock,
    maximumBytes: 1 << 20,
    deadlineMs: patienceMs,
  });
  const found = await inspector.inspect(1, { file: sparse('huge', 2 ** 40), hash: true });
  assert.deepEqual([found.sha256, typeof found.problem], [undefined, 'string']);
});

test('a file that takes too long is given up, the event loop turns meanwhile and other users are served', async () => {
  using inspector = startInspector({
    clock: systemClock,
    maximumBytes: Number.MAX_SAFE_INTEGER,
    deadlineMs: 10_000,
    maximumProcesses: 2,
  });
  const endless = sparse('endless', 2 ** 42);
  let turns = 0;
  const ticker = setInterval(() => (turns += 1), 5);
  let given = false;
  const slow = inspector.inspect(1, { file: endless, hash: true }).finally(() => (given = true));
  const other = await inspector.inspect(2, { file: '/bin/sleep', hash: true });
  assert.equal(typeof other.sha256, 'string');
  assert.equal(given, false, 'the other user did not wait for the first one');
  const found = await slow;
  assert.deepEqual([found.sha256, typeof found.problem], [undefined, 'string']);
  clearInterval(ticker);
  assert.ok(turns > 10, `the event loop turned ${turns} times`);
  assert.equal(
    typeof (await inspector.inspect(1, { file: '/bin/sleep', hash: true })).sha256,
    'string',
    'afterwards the slot is free again',
  );
});

test('one user can not fill the queue of all', async () => {
  using inspector = startInspector({
    clock: systemClock,
    deadlineMs: patienceMs,
    maximumProcesses: 2,
    maximumBytes: Number.MAX_SAFE_INTEGER,
  });
  const endless = sparse('endless', 2 ** 42);
  const many = Array.from({ length: 100 }, () =>
    inspector.inspect(1, { file: endless, hash: true }),
  );
  assert.equal(
    typeof (await inspector.inspect(2, { file: '/bin/sleep', hash: true })).sha256,
    'string',
  );
  inspector[Symbol.dispose]();
  for (const found of await Promise.all(many)) assert.equal(found.sha256, undefined);
});

test('disposing answers what waits and leaves no process behind', async () => {
  const inspector = startInspector({
    clock: systemClock,
    maximumBytes: Number.MAX_SAFE_INTEGER,
    deadlineMs: patienceMs,
  });
  const waiting = inspector.inspect(1, { file: sparse('endless', 2 ** 42), hash: true });
  await inspector.inspect(2, { file: '/bin/sleep', hash: true });
  inspector[Symbol.dispose]();
  assert.equal((await waiting).sha256, undefined);
  const children = (): string =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
  await until(() => children() === '', 'no process is left');
});

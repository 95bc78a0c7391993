import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { openStore } from '../../support/open-store.ts';
import { code } from '../../compliance/store/fixtures.ts';

const open = (path: string): Promise<Ledger> =>
  openStore({ path, clock: systemClock, logger: silentLogger, pid: process.pid });

const holderScript = fileURLToPath(
  new URL(`./holder${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'meshca-store-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

interface Holder {
  readonly child: ChildProcess;
  /** The highest number it printed. */
  readonly acknowledged: () => number;
  reached(count: number): Promise<void>;
  kill(): Promise<void>;
}

/** Starts another process that holds the database and appends to its log without end. */
async function holder(t: TestContext, path: string): Promise<Holder> {
  const child = spawn(process.execPath, [holderScript, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  t.after(kill);
  let acknowledged = 0;
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const waiting = new Set<() => void>();
  lines.on('line', (line) => {
    acknowledged = line === 'open' ? 0 : Number(line);
    for (const check of waiting) check();
  });
  await once(lines, 'line');
  const reached = (count: number): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (acknowledged < count) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  return { child, acknowledged: () => acknowledged, reached, kill };
}

test('a database that another process holds is refused with its pid and time, and free again after kill -9', async (t) => {
  const path = join(folder(t), 'meshca.db');
  const other = await holder(t, path);
  await assert.rejects(open(path), (error) => {
    assert.ok(error instanceof PkiError);
    assert.equal(error.code, 'STORE_LOCKED');
    assert.equal(error.detail['pid'], other.child.pid);
    assert.ok(Math.abs(Number(error.detail['since']) - systemClock.now()) < 60);
    return true;
  });
  await other.reached(20);
  await other.kill();
  const store = await open(path);
  // Whether a power cut would have lost them is for the fault drill: after a kill the page cache is
  // still there.
  assert.ok((await store.audit.count()) >= other.acknowledged());
  await store.close();
});

test('killed at any instant, a writer leaves a database that opens and has all that was acknowledged', async (t) => {
  const path = join(folder(t), 'meshca.db');
  for (let round = 0, before = 0; round < 4; round += 1) {
    const writer = await holder(t, path);
    await writer.reached(1 + round * 7);
    await writer.kill();
    const store = await open(path);
    const count = await store.audit.count();
    assert.ok(
      count >= before + writer.acknowledged(),
      `${count} records, ${writer.acknowledged()} acknowledged`,
    );
    before = count;
    await store.close();
  }
});

test('of servers that start at the same instant exactly one gets the database', async (t) => {
  const path = join(folder(t), 'meshca.db');
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [holderScript, path], { stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  t.after(() => children.forEach((child) => child.kill('SIGKILL')));
  const starts = await Promise.all(
    children.map((child) =>
      Promise.race([
        once(child.stdout, 'data').then(() => 'open'),
        once(child, 'exit').then(() => 'refused'),
      ]),
    ),
  );
  assert.deepEqual(starts.sort(), ['open', 'refused', 'refused', 'refused']);
});

test('the lock holds inside one process too, and by any name of the file', async (t) => {
  const base = folder(t);
  const path = join(base, 'meshca.db');
  const store = await open(path);
  await assert.rejects(open(path), code('STORE_LOCKED'));
  symlinkSync(path, join(base, 'alias.db'));
  symlinkSync(base, join(base, 'folder'));
  await assert.rejects(open(join(base, 'alias.db')), code('STORE_LOCKED'));
  await assert.rejects(open(join(base, 'folder', 'meshca.db')), code('STORE_LOCKED'));
  await store.audit.append([]);
  await store.close();
  const again = await open(join(base, 'alias.db'));
  await assert.rejects(open(path), code('STORE_LOCKED'));
  await again.close();
});

test('a failed start gives the lock back', async (t) => {
  const path = join(folder(t), 'meshca.db');
  writeFileSync(
    path,
    'this is no database, and it is long enough to be taken for one by its size alone'.repeat(20),
  );
  await assert.rejects(open(path), code('STORE_CORRUPT'));
  rmSync(path);
  await (await open(path)).close();
});

test('database, log and lock are readable by their owner only', async (t) => {
  const path = join(folder(t), 'meshca.db');
  const store = await open(path);
  await store.audit.append([{ timeMs: 1, actor: 'server', kind: 'a.b', subject: '', detail: {} }]);
  for (const suffix of ['', '-wal', '-shm', '.lock']) {
    assert.ok(existsSync(path + suffix));
    assert.equal(statSync(path + suffix).mode & 0o077, 0, suffix);
  }
  await store.close();
});

test('a folder that is missing is a clear failure', async (t) => {
  await assert.rejects(open(join(folder(t), 'none', 'meshca.db')), code('STORE_FAILED'));
});

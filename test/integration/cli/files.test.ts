import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { expectFolder, expectNewFile, writeStream, writeWhole } from '../../../src/cli/files.ts';

test('a key replaces a readable file with a closed one, and follows no link', () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshca-cli-files-'));
  try {
    const [key, elsewhere, linked] = ['key.pem', 'elsewhere', 'linked.pem'].map((name) =>
      join(dir, name),
    ) as [string, string, string];
    writeFileSync(key, 'old');
    chmodSync(key, 0o644);
    writeWhole(key, 'new', 0o600);
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.equal(readFileSync(key, 'utf8'), 'new');
    writeFileSync(elsewhere, 'untouched');
    symlinkSync(elsewhere, linked);
    writeWhole(linked, 'secret', 0o600);
    assert.equal(readFileSync(elsewhere, 'utf8'), 'untouched');
    assert.throws(
      () => writeWhole(join(dir, 'missing', 'x'), 'x', 0o600),
      (error) => error instanceof PkiError && error.code === 'INVALID_REQUEST',
    );
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.endsWith('.tmp')),
      [],
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const isRefused = (error: unknown): boolean =>
  error instanceof PkiError && error.code === 'INVALID_REQUEST';

test('a stream that does not fit the disk is an error and leaves no part', () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshca-cli-files-'));
  try {
    // a file that may have 4 KiB: the write that crosses the limit writes what fits and reports
    // success, as on a full disk
    const module = new URL(
      `../../../src/cli/files.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
      import.meta.url,
    ).href;
    const program = `import { writeStream } from ${JSON.stringify(module)};
      try { await writeStream(process.argv[1], new AbortController().signal, (write) => write(Buffer.alloc(10_000))); console.log('written'); } catch (error) { console.log(error.code); }`;
    const path = join(dir, 'out');
    const child = spawnSync(
      'bash',
      [
        '-c',
        'ulimit -f 4 && exec "$@"',
        'bash',
        process.execPath,
        '--input-type=module',
        '-e',
        program,
        path,
      ],
      { encoding: 'utf8' },
    );
    assert.equal(child.stdout.trim(), 'OUTPUT_FAILED', child.stderr);
    assert.deepEqual(readdirSync(dir), []);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a stream leaves a whole, closed file or nothing, and replaces no file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshca-cli-files-'));
  const path = join(dir, 'out');
  try {
    const stop = new AbortController();
    await assert.rejects(
      writeStream(path, stop.signal, async (write) => {
        await write(Buffer.from('a part'));
        throw new PkiError('UNREACHABLE', 'gone');
      }),
      (error) => error instanceof PkiError && error.code === 'UNREACHABLE',
    );
    await assert.rejects(
      writeStream(path, stop.signal, async (write) => {
        await write(Buffer.from('a part'));
        stop.abort();
      }),
      (error) => error instanceof PkiError && error.code === 'CANCELLED',
    );
    assert.deepEqual(readdirSync(dir), []);

    const go = new AbortController().signal;
    assert.equal(
      await writeStream(path, go, async (write) => {
        await write(Buffer.from('one '));
        assert.ok(!existsSync(path), 'a part has no name');
        await write(Buffer.from('two'));
      }),
      7,
    );
    assert.equal(readFileSync(path, 'utf8'), 'one two');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await assert.rejects(
      writeStream(path, go, (write) => write(Buffer.from('three'))),
      isRefused,
    );
    assert.equal(readFileSync(path, 'utf8'), 'one two');
    assert.throws(() => expectNewFile(path), isRefused);
    assert.throws(() => expectNewFile(join(dir, 'missing', 'x')), isRefused);
    assert.throws(() => expectFolder(path), isRefused);
    expectNewFile(join(dir, 'fresh'));
    expectFolder(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

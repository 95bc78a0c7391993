import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeDirectory } from '../../../../src/common/unix/make-directory.ts';

test('a directory is made with those above it, and again without harm', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-directory-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a', 'b', 'c');
  makeDirectory(path, 0o700);
  makeDirectory(path, 0o755);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  writeFileSync(join(folder, 'file'), '');
  assert.throws(() => makeDirectory(join(folder, 'file', 'x'), 0o700), { code: 'ENOTDIR' });
});

test('below a file system that makes no directories the answer comes at once', () => {
  for (const path of ['/proc/x', '/proc/x/y/z'])
    assert.throws(() => makeDirectory(path, 0o700), { code: 'ENOENT' });
});

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../src/common/errors/index.ts';
import { writeWhole } from '../../src/cli/files.ts';

test('a key that replaces a file which others could read is closed to them, and no link leads it elsewhere', () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshca-cli-files-'));
  try {
    const [key, elsewhere, linked] = ['key.pem', 'elsewhere', 'linked.pem'].map((name) => join(dir, name)) as [string, string, string];
    writeFileSync(key, 'old');
    chmodSync(key, 0o644);
    writeWhole(key, 'new', 0o600);
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.equal(readFileSync(key, 'utf8'), 'new');
    writeFileSync(elsewhere, 'untouched');
    symlinkSync(elsewhere, linked);
    writeWhole(linked, 'secret', 0o600);
    assert.equal(readFileSync(elsewhere, 'utf8'), 'untouched');
    assert.throws(() => writeWhole(join(dir, 'missing', 'x'), 'x', 0o600), (error) => error instanceof PkiError && error.code === 'INVALID_REQUEST');
    assert.deepEqual(readdirSync(dir).filter((name) => name.endsWith('.tmp')), []);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

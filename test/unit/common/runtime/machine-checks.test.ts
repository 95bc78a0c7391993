import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  clockCheck,
  directoryCheck,
  portCheck,
  ptraceCheck,
  versionCheck,
} from '../../../../src/common/runtime/machine-checks.ts';

const uid = process.getuid?.() ?? 0;

describe('the check of a machine', () => {
  test('refuses a Node that is too old', () => {
    assert.equal(versionCheck('v24.15.0').state, 'ok');
    assert.equal(versionCheck('v25.0.0').state, 'ok');
    assert.equal(versionCheck('v24.14.9').state, 'failed');
    assert.equal(versionCheck('v22.20.0').state, 'failed');
  });

  test('refuses a data directory that others may write to, or that is a file', () => {
    const dir = mkdtempSync(join(tmpdir(), 'meshca-checks-'));
    try {
      assert.equal(directoryCheck('data', dir, uid).state, 'ok');
      assert.match(
        directoryCheck('data', join(dir, 'a', 'b'), uid).text,
        /made at the first start/,
      );
      chmodSync(dir, 0o777);
      assert.match(directoryCheck('data', dir, uid).text, /open to others/);
      chmodSync(dir, 0o700);
      const file = join(dir, 'file');
      writeFileSync(file, '');
      assert.match(directoryCheck('data', file, uid).text, /no directory/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('tells a free port from one in use and from an address that is not here', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    assert.equal((await portCheck('port', '127.0.0.1', port)).state, 'warning');
    await new Promise((resolve) => server.close(resolve));
    assert.equal((await portCheck('port', '127.0.0.1', port)).state, 'ok');
    assert.equal((await portCheck('port', '192.0.2.1', port)).state, 'failed');
  });

  test('refuses a clock that is behind what was written', () => {
    const dir = mkdtempSync(join(tmpdir(), 'meshca-checks-'));
    const file = join(dir, 'meshca.db');
    writeFileSync(file, '');
    const now = Math.floor(Date.now() / 1000);
    try {
      assert.equal(clockCheck(now, [file, join(dir, 'absent')]).state, 'ok');
      assert.equal(clockCheck(now - 3600, [file]).state, 'failed');
      assert.equal(clockCheck(1_000_000_000, []).state, 'failed');
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('misses CAP_SYS_PTRACE where the process lacks it', () => {
    assert.equal(ptraceCheck('CapEff:\t000001ffffffffff\n').state, 'ok');
    assert.equal(ptraceCheck('CapEff:\t0000000000080000\n').state, 'ok');
    assert.equal(ptraceCheck('CapEff:\t0000000000000000\n').state, 'warning');
  });
});

import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import { readPinFile } from '../../../src/hsm/index.ts';
import { codeOf, startTestServer } from '../../support/server.ts';
import { createTokens } from '../../support/softhsm.ts';

/** The code of what it throws, or `PIN` and what it warned of. */
function read(path: string): { readonly outcome: string; readonly warnings: readonly object[] } {
  const warnings: object[] = [];
  const logger: Logger = { ...silentLogger, warn: (fields: object) => void warnings.push(fields) };
  try {
    return { outcome: readPinFile(path, 'meshca-issuing', logger), warnings };
  } catch (thrown) {
    return { outcome: (thrown as { code: string }).code, warnings };
  }
}

test('a PIN file that others may write is refused; one that all may read is used with a warning', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-pin-'));
  try {
    const path = join(dir, 'pin');
    await writeFile(path, '1234\n');
    await symlink(path, join(dir, 'link'));
    for (const [mode, outcome, warnings] of [
      [0o600, '1234', 0],
      [0o400, '1234', 0],
      [0o640, '1234', 0],
      [0o644, '1234', 1],
      [0o664, 'HSM_PIN_FILE_OPEN', 0],
      [0o620, 'HSM_PIN_FILE_OPEN', 0],
      [0o602, 'HSM_PIN_FILE_OPEN', 0],
      [0o666, 'HSM_PIN_FILE_OPEN', 0],
    ] as const) {
      await chmod(path, mode);
      for (const name of ['pin', 'link']) {
        const found = read(join(dir, name));
        assert.deepEqual(
          [found.outcome, found.warnings.length],
          [outcome, warnings],
          `${name} with ${mode.toString(8)}`,
        );
        assert.ok(!JSON.stringify(found.warnings).includes('1234'));
      }
    }
    await chmod(path, 0o600);
    await writeFile(path, '\n');
    assert.equal(read(path).outcome, 'HSM_PIN_MISSING');
    assert.equal(read(join(dir, 'none')).outcome, 'HSM_PIN_MISSING');
    assert.equal(read(dir).outcome, 'HSM_PIN_MISSING');
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test('a server does not start with a PIN file that its group may write', async () => {
  await using tokens = await createTokens();
  const dir = await mkdtemp(join(tmpdir(), 'meshca-pin-'));
  try {
    await chmod(tokens.tokens.root.pinFile, 0o660);
    assert.equal(await codeOf(startTestServer({ tokens, dir })), 'HSM_PIN_FILE_OPEN');
    await chmod(tokens.tokens.root.pinFile, 0o600);
    await using server = await startTestServer({ tokens, dir });
    assert.ok((await server.mint('spiffe://mesh.test/web')).serial.length > 0);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

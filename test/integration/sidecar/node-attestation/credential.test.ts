import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  configuredEvidence,
  nodeAttestorTypes,
} from '../../../../sidecar/node-attestation/index.ts';
import { silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';
import { codeOf } from '../../../support/server.ts';

const evidenceFrom = async (path: string, logger: Logger): Promise<string> =>
  (await configuredEvidence(nodeAttestorTypes, { joinToken: { path } }, logger)).payload.toString();

test('a join token that others may read or write is used with a warning that names the file only', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-credential-'));
  try {
    const path = join(dir, 'token');
    await writeFile(path, 'a-secret\n');
    await symlink(path, join(dir, 'link'));
    for (const [mode, count] of [
      [0o600, 0],
      [0o400, 0],
      [0o640, 0],
      [0o644, 1],
      [0o620, 1],
      [0o666, 2],
    ] as const) {
      await chmod(path, mode);
      for (const name of ['token', 'link']) {
        const warnings: unknown[][] = [];
        const logger: Logger = {
          ...silentLogger,
          warn: (...line: unknown[]) => void warnings.push(line),
        };
        assert.equal(await evidenceFrom(join(dir, name), logger), 'a-secret');
        assert.equal(warnings.length, count, `${name} with ${mode.toString(8)}`);
        for (const [fields] of warnings)
          assert.equal((fields as { path: string }).path, join(dir, name));
        assert.ok(!JSON.stringify(warnings).includes('a-secret'));
      }
    }
    for (const unusable of ['none', '.'])
      assert.equal(
        await codeOf(evidenceFrom(join(dir, unusable), silentLogger)),
        'NODE_CREDENTIAL_MISSING',
      );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

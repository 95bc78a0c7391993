import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FederatedFile } from '../../../../sidecar/state/index.ts';
import { foreignDocument } from '../../../support/foreign-bundle.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import { createRoot } from '../../../support/test-pki.ts';

test('foreign bundles outlast a restart, and a withdrawal does too', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-federated-'));
  const path = join(directory, 'federated-bundles.json');
  const open = () => new FederatedFile(directory, stateWrites());
  try {
    assert.deepEqual(await open().load(), []);
    const documents = [
      foreignDocument('a.test', 1, [createRoot('a.test')]),
      foreignDocument('b.test', 2, [createRoot('b.test')]),
    ];
    assert.equal(await open().save(documents), true);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await open().load(), documents);
    await open().save(documents.slice(1));
    assert.deepEqual(await open().load(), documents.slice(1));
    for (const text of [
      '',
      '{',
      '{"version":2,"bundles":[]}',
      '{"version":1,"bundles":[7,null]}',
    ]) {
      await writeFile(path, text);
      assert.deepEqual(await open().load(), [], text);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomInt, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import { fileOperations } from '../../../../sidecar/files/file-operations.ts';
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
} from '../../../support/certificate-sets.ts';

const writer = fileURLToPath(
  import.meta.resolve(import.meta.url.endsWith('.ts') ? './set-writer.ts' : './set-writer.js'),
);

test('kill -9 of the writer at a random step leaves current at one whole set', async (context) => {
  const parent = await mkdtemp(join(tmpdir(), 'meshca-set-kill-'));
  context.after(() => rm(parent, { recursive: true, force: true }));
  const directory = join(parent, 'target');
  await mkdir(directory);
  const target = {
    directory,
    layout: { ...plainLayout, links: true },
    permissions: plainPermissions,
  };
  const sets = new TargetSets(target, { files: fileOperations, user: effectiveUser() });
  for (let kill = 0; kill < 8; kill += 1) {
    // the first kills may come before anything is served
    const step = randomInt(1, 200);
    const child = spawn(process.execPath, [writer, directory, String(step)], { stdio: 'ignore' });
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    assert.equal(signal, 'SIGKILL');
    const current = await sets.current();
    assert.equal(current !== undefined, existsSync(join(directory, 'current')), `step ${step}`);
    if (current === undefined) continue;
    const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
    const leaf = new X509Certificate(read('fullchain.pem'));
    assert.equal(leaf.serialNumber.toLowerCase(), current.serial, `step ${step}`);
    assert.ok(leaf.publicKey.equals(createPublicKey(createPrivateKey(read('key.pem')))));
  }
  const last = unwrap(await sets.write(setContent(setIssuer())));
  unwrap(await sets.swap(last));
  for (const set of await sets.list()) if (set.name !== last.name) unwrap(await sets.remove(set));
  assert.deepEqual(await readdir(join(directory, 'sets')), [last.name], 'nothing remains');
});

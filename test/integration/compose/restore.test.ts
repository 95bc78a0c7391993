import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lostWith, restoreDatabase } from '../../../src/compose/restore.ts';
import { logWorld, openLog } from '../../support/log-world.ts';

describe('restoring a database while the server is stopped', () => {
  let folder: string;
  let where: { readonly configPath: string; readonly env: Record<string, string> };
  const path = (): string => join(folder, 'meshca.db');
  const restore = (from: string) => restoreDatabase({ ...where, from, pid: process.pid });

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'meshca-restore-'));
    where = { configPath: join(folder, 'server.yaml'), env: {} };
    const token = (role: string) => ({ label: role, pinEnv: role.toUpperCase() });
    writeFileSync(
      where.configPath,
      JSON.stringify({
        trustDomain: 'mesh.test',
        dataDir: folder,
        hsm: { module: '/lib/one.so', root: token('root'), issuing: token('issuing') },
      }),
    );
    await using opened = await openLog(logWorld(path()));
    await opened.store.backup(join(folder, 'backup.db'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('takes the backup and keeps what was there beside it', async () => {
    assert.deepEqual(await restore(join(folder, 'backup.db')), {
      path: path(),
      replaced: `${path()}.replaced`,
    });
    assert.deepEqual(readFileSync(path()), readFileSync(join(folder, 'backup.db')));
  });

  test('leaves everything as it is where the file is no backup', async () => {
    const database = readFileSync(path());
    writeFileSync(join(folder, 'other.db'), 'something else');
    await assert.rejects(restore(join(folder, 'other.db')), { code: 'STORE_CORRUPT' });
    assert.deepEqual(readFileSync(path()), database);
    assert.equal(existsSync(`${path()}.restoring`), false);
  });

  test('tells that a database without a log has no loss to show', async () => {
    await assert.rejects(lostWith(where), { code: 'NOT_FOUND' });
  });

  test('finds the configuration in the environment where no path is given', async () => {
    const env = { MESHCA_SERVER_CONFIG: where.configPath };
    await assert.rejects(lostWith({ configPath: undefined, env }), { code: 'NOT_FOUND' });
  });
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceDatabase } from '../../src/store/index.ts';
import { serverStreamCall, type TestServer } from './server.ts';

/** Takes a backup as an operator does; returns its path. */
export async function backupOf(server: TestServer): Promise<string> {
  const chunks: Buffer[] = [];
  await serverStreamCall(
    server.adminClient(),
    '/meshca.admin.v1.Server/Backup',
    {},
    (message: { data: Buffer }) => void chunks.push(message.data),
  );
  const path = join(server.dir, 'backup.db');
  await writeFile(path, Buffer.concat(chunks));
  return path;
}

/** Stops the server, and puts this database in the place of its own. */
export async function putBack(server: TestServer, from: string): Promise<void> {
  await server.stop();
  replaceDatabase({
    path: join(server.dir, 'data', 'meshca.db'),
    from,
    pid: process.pid,
    now: Math.floor(Date.now() / 1000),
  });
}

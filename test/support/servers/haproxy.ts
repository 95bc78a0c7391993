import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { Guide } from './guide.ts';
import {
  serverFolder,
  startServer,
  type DriverSettings,
  type RunningServer,
} from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

interface HaproxyDriver extends DriverSettings {
  readonly settings: { readonly socket: string; readonly reload: object };
}

/**
 * HAProxy with a socket of level admin, which asks clients for a certificate under `ca`. It takes new
 * sets by the socket, and new roots by SIGUSR2 to its master; or all by one of both.
 */
export async function startHaproxy(
  target: ServedDirectory,
  by: 'both' | 'socket' | 'reload' = 'both',
): Promise<RunningServer> {
  const folder = serverFolder('haproxy');
  const port = await freePort();
  const { path, executable } = debianProgram('haproxy');
  const [socket, configFile] = [join(folder, 'admin.sock'), join(folder, 'haproxy.cfg')];
  const pidFile = join(folder, 'haproxy.pid');
  const guide = new Guide('HAProxy');
  const places = { '127.0.0.1:443': `127.0.0.1:${port}`, '/run/haproxy/admin.sock': socket };
  writeFileSync(configFile, guide.config('haproxy', target, places));
  const { type, settings } = guide.driver({
    '/run/haproxy/admin.sock': socket,
    '/run/haproxy.pid': pidFile,
    '/etc/haproxy/haproxy.cfg': configFile,
  }) as HaproxyDriver;
  return startServer({
    ...{ name: 'haproxy', port, folder, target },
    argv: [path, '-W', '-f', configFile, '-p', pidFile],
    driver: {
      type,
      settings: {
        ...(by !== 'reload' && { socket: settings.socket }),
        ...(by !== 'socket' && { reload: { ...settings.reload, program: path, executable } }),
      },
    },
  });
}

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

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
  writeFileSync(
    configFile,
    `global
  stats socket ${socket} mode 600 level admin
  stats timeout 30s
  hard-stop-after 30s
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:${port} ssl crt ${target.file('combined')} ca-file ${target.file('ca')} verify optional
  http-request return status 200 content-type text/plain string ok
`,
  );
  return startServer({
    ...{ name: 'haproxy', port, folder, target },
    argv: [path, '-W', '-f', configFile, '-p', pidFile],
    driver: {
      type: 'haproxy',
      settings: {
        ...(by !== 'reload' && { socket }),
        ...(by !== 'socket' && { reload: { program: path, executable, pidFile, configFile } }),
      },
    },
  });
}

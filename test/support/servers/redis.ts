import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

export const redisPassword = 'a password "with" quotes';

/** Redis with TLS on its port, and a password; the driver comes by its Unix socket. */
export async function startRedis(target: ServedDirectory): Promise<RunningServer> {
  const folder = serverFolder('redis');
  const port = await freePort();
  const { path } = debianProgram('redis-server');
  const [socket, configFile] = [join(folder, 'redis.sock'), join(folder, 'redis.conf')];
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${redisPassword}\n`, { mode: 0o600 });
  writeFileSync(
    configFile,
    `port 0
tls-port ${port}
bind 127.0.0.1
tls-cert-file ${target.file('fullchain')}
tls-key-file ${target.file('key')}
tls-ca-cert-file ${target.file('ca')}
tls-auth-clients optional
unixsocket ${socket}
unixsocketperm 700
requirepass ${JSON.stringify(redisPassword)}
dir ${folder}
save ""
`,
  );
  return startServer({
    ...{ name: 'redis', port, folder, target },
    argv: [path, configFile],
    greeting: Buffer.from('PING\r\n'),
    driver: { type: 'redis', settings: { address: socket, passwordFile } },
  });
}

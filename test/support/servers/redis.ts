import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { Guide } from './guide.ts';
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
  const guide = new Guide('Redis');
  const config = guide.config('redis', target, {
    'tls-port 6379': `tls-port ${port}`,
    '/run/redis/redis.sock': socket,
  });
  const others = [`requirepass ${JSON.stringify(redisPassword)}`, `dir ${folder}`, 'save ""'];
  writeFileSync(configFile, [config, ...others, ''].join('\n'));
  return startServer({
    ...{ name: 'redis', port, folder, target },
    argv: [path, configFile],
    greeting: Buffer.from('PING\r\n'),
    driver: guide.driver({
      '/run/redis/redis.sock': socket,
      '/etc/meshca/redis.password': passwordFile,
    }),
  });
}

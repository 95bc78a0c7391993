import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { Guide } from './guide.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

/** Caddy with its admin API on a Unix socket, which asks clients for a certificate under `ca`. */
export async function startCaddy(target: ServedDirectory, program: string): Promise<RunningServer> {
  const folder = serverFolder('caddy');
  const port = await freePort();
  const [socket, configFile] = [join(folder, 'admin.sock'), join(folder, 'Caddyfile')];
  const guide = new Guide('Caddy');
  const places = { 'localhost:443': `localhost:${port}`, '/run/caddy/admin.sock': socket };
  writeFileSync(configFile, guide.config('caddyfile', target, places));
  return startServer({
    ...{ name: 'caddy', port, folder, target },
    argv: [program, 'run', '--config', configFile, '--adapter', 'caddyfile'],
    environment: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    files: { configFile },
    driver: guide.driver({ '/run/caddy/admin.sock': socket }),
  });
}

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

/** Caddy with its admin API on a Unix socket, which asks clients for a certificate under `ca`. */
export async function startCaddy(target: ServedDirectory, program: string): Promise<RunningServer> {
  const folder = serverFolder('caddy');
  const port = await freePort();
  const [socket, configFile] = [join(folder, 'admin.sock'), join(folder, 'Caddyfile')];
  writeFileSync(
    configFile,
    `{
	admin unix/${socket}
	auto_https off
	persist_config off
}
https://localhost:${port} {
	bind 127.0.0.1
	tls ${target.file('fullchain')} ${target.file('key')} {
		client_auth {
			mode verify_if_given
			trust_pool file ${target.file('ca')}
		}
	}
	respond "ok"
}
`,
  );
  return startServer({
    ...{ name: 'caddy', port, folder, target },
    argv: [program, 'run', '--config', configFile, '--adapter', 'caddyfile'],
    environment: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    files: { configFile },
    driver: { type: 'caddy', settings: { admin: socket } },
  });
}

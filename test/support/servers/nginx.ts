import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

/** nginx with two workers, which asks clients for a certificate under `ca`. */
export async function startNginx(target: ServedDirectory): Promise<RunningServer> {
  const folder = serverFolder('nginx');
  const port = await freePort();
  const { path, executable } = debianProgram('nginx');
  const [pidFile, configFile] = [join(folder, 'nginx.pid'), join(folder, 'nginx.conf')];
  writeFileSync(
    configFile,
    `daemon off;
pid ${pidFile};
error_log stderr info;
worker_processes 2;
worker_shutdown_timeout 10s;
events {}
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate ${target.file('fullchain')};
    ssl_certificate_key ${target.file('key')};
    ssl_client_certificate ${target.file('ca')};
    ssl_verify_client optional;
    ssl_verify_depth 3;
    location / { return 200 "ok\\n"; }
  }
}
`,
  );
  return startServer({
    ...{ name: 'nginx', port, folder, target },
    argv: [path, '-c', configFile, '-e', 'stderr'],
    driver: { type: 'nginx', settings: { program: path, executable, pidFile, configFile } },
  });
}

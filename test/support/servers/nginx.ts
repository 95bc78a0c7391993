import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram } from './debian-programs.ts';
import { Guide } from './guide.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

/** nginx with two workers, which asks clients for a certificate under `ca`. */
export async function startNginx(target: ServedDirectory): Promise<RunningServer> {
  const folder = serverFolder('nginx');
  const port = await freePort();
  const { path, executable } = debianProgram('nginx');
  const [pidFile, configFile] = [join(folder, 'nginx.pid'), join(folder, 'nginx.conf')];
  const guide = new Guide('nginx');
  const web = guide.config('nginx', target, { '127.0.0.1:443': `127.0.0.1:${port}` });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  writeFileSync(
    configFile,
    [
      ...['daemon off;', `pid ${pidFile};`, 'error_log stderr info;', 'worker_processes 2;'],
      web.replace('http {', ['http {', 'access_log off;', ...temporary].join('\n')),
    ].join('\n'),
  );
  const { type, settings } = guide.driver({
    '/run/nginx.pid': pidFile,
    '/etc/nginx/nginx.conf': configFile,
  });
  return startServer({
    ...{ name: 'nginx', port, folder, target },
    argv: [path, '-c', configFile, '-e', 'stderr'],
    files: { configFile, pidFile, program: path },
    driver: { type, settings: { ...settings, program: path, executable } },
  });
}

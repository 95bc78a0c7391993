import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
import { Guide } from './guide.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

/** Traefik with a watched file of dynamic configuration. */
export async function startTraefik(
  target: ServedDirectory,
  program: string,
): Promise<RunningServer> {
  const folder = serverFolder('traefik');
  const port = await freePort();
  const [staticFile, dynamicFile] = [join(folder, 'traefik.json'), join(folder, 'dynamic.yaml')];
  const pidFile = join(folder, 'traefik.pid');
  writeFileSync(
    staticFile,
    JSON.stringify({
      global: { checkNewVersion: false, sendAnonymousUsage: false },
      entryPoints: { web: { address: `127.0.0.1:${port}` } },
      providers: {
        file: { filename: dynamicFile, watch: true },
        // how far apart two changes take effect
        providersThrottleDuration: '200ms',
      },
      ping: { manualRouting: true },
    }),
  );
  const guide = new Guide('Traefik');
  writeFileSync(dynamicFile, guide.config('yaml', target, {}));
  const server = await startServer({
    ...{ name: 'traefik', port, folder, target },
    argv: [program, `--configFile=${staticFile}`],
    files: { pidFile },
    driver: guide.driver({ '/etc/traefik/dynamic.yaml': dynamicFile }),
  });
  // it writes none itself
  writeFileSync(pidFile, `${server.pid}\n`);
  return server;
}

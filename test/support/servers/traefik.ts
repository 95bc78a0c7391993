import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../ports.ts';
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
  const pair = { certFile: target.file('fullchain'), keyFile: target.file('key') };
  writeFileSync(
    dynamicFile,
    JSON.stringify({
      http: {
        routers: { all: { rule: 'PathPrefix(`/`)', service: 'ping@internal', tls: {} } },
      },
      tls: {
        stores: { default: { defaultCertificate: pair } },
        options: {
          default: {
            clientAuth: {
              caFiles: [target.file('ca')],
              clientAuthType: 'VerifyClientCertIfGiven',
            },
          },
        },
      },
    }),
  );
  const server = await startServer({
    ...{ name: 'traefik', port, folder, target },
    argv: [program, `--configFile=${staticFile}`],
    files: { pidFile },
    driver: { type: 'traefik', settings: { dynamicFile } },
  });
  // it writes none itself
  writeFileSync(pidFile, `${server.pid}\n`);
  return server;
}

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../ports.ts';
import { Guide } from './guide.ts';
import { serverFolder, startServer, type RunningServer } from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

const type = (name: string): string => `type.googleapis.com/envoy.${name}`;
const tlsType = (name: string): string => type(`extensions.transport_sockets.tls.v3.${name}`);
const local = (port: number): object => ({
  socket_address: { address: '127.0.0.1', port_value: port },
});

/** Envoy that takes certificate and roots from files, by secrets that watch the directory. */
export async function startEnvoyFiles(
  target: ServedDirectory,
  program: string,
): Promise<RunningServer> {
  const folder = serverFolder('envoy');
  const [port, adminPort] = (await freePorts(2)) as [number, number];
  const write = (name: string, content: string): string => {
    const path = join(folder, `${name}.json`);
    writeFileSync(path, content);
    return path;
  };
  const guide = new Guide('Envoy');
  const svid = write('svid', guide.config('json', target, {}, 0));
  const roots = write('roots', guide.config('json', target, {}, 1));
  const configFile = write('envoy', JSON.stringify(bootstrapOf(port, adminPort, svid, roots)));
  return startServer({
    ...{ name: 'envoy', port, folder, target },
    argv: [program, '-c', configFile, '--disable-hot-restart', '--concurrency', '2'],
    driver: guide.driver({ '127.0.0.1:9901': `127.0.0.1:${adminPort}` }),
  });
}

function bootstrapOf(port: number, adminPort: number, svid: string, roots: string): object {
  const secret = (name: string, path: string): object => ({
    name,
    sds_config: { resource_api_version: 'V3', path_config_source: { path } },
  });
  const httpManager = 'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  const routes = [
    { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'ok' } } },
  ];
  const router = {
    name: 'router',
    typed_config: { '@type': type('extensions.filters.http.router.v3.Router') },
  };
  const http = {
    name: 'http',
    typed_config: {
      '@type': type(httpManager),
      stat_prefix: 'in',
      route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
      http_filters: [router],
    },
  };
  const transport_socket = {
    name: 'tls',
    typed_config: {
      '@type': tlsType('DownstreamTlsContext'),
      common_tls_context: {
        tls_certificate_sds_secret_configs: [secret('svid', svid)],
        validation_context_sds_secret_config: secret('roots', roots),
      },
    },
  };
  return {
    node: { id: 'files', cluster: 'test' },
    admin: { address: local(adminPort) },
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: local(port),
          filter_chains: [{ filters: [http], transport_socket }],
        },
      ],
    },
  };
}

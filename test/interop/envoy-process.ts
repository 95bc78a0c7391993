import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../support/until.ts';
import { foreignProgram } from './foreign-programs.ts';

const type = (name: string): string => `type.googleapis.com/envoy.${name}`;
const tlsType = (name: string): string => type(`extensions.transport_sockets.tls.v3.${name}`);

export interface EnvoyOptions {
  readonly name: string;
  readonly socketPath: string;
  readonly api: 'GRPC' | 'DELTA_GRPC';
  /** The names of its secrets, and the identity that it takes for its peer. */
  readonly svid: string;
  readonly bundle: string;
  /** Absent: every peer that its roots verify. */
  readonly peer?: string;
  readonly port: number;
  readonly adminPort: number;
  /** Its node asks for plain roots instead of the SPIFFE validator. */
  readonly plainRoots?: boolean;
  /** It forwards what it gets there. Absent: it answers by itself, to mutual TLS alone. */
  readonly upstreamPort?: number;
}

interface Shown {
  readonly serial_number: string;
}

/** A real Envoy that takes its secrets from an agent. Owner of its process. */
export class EnvoyProcess {
  readonly #folder: string;
  readonly #options: EnvoyOptions;
  readonly #child: ChildProcess;
  #log = '';

  private constructor(folder: string, options: EnvoyOptions) {
    this.#folder = folder;
    this.#options = options;
    const [program = ''] = foreignProgram('envoy');
    this.#child = spawn(
      program,
      [
        '-c',
        join(folder, 'envoy.json'),
        '--disable-hot-restart',
        ...'--concurrency 1 -l warning'.split(' '),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (bytes: Buffer) => (this.#log += bytes.toString()));
  }

  static async start(options: EnvoyOptions): Promise<EnvoyProcess> {
    const folder = await mkdtemp(join(tmpdir(), 'meshca-envoy-'));
    await writeFile(join(folder, 'envoy.json'), JSON.stringify(bootstrapOf(options)));
    return new EnvoyProcess(folder, options);
  }

  /** A page of the admin port. Empty while it does not answer. */
  async admin(path: string): Promise<string> {
    if (this.#child.exitCode !== null) throw new Error(`Envoy ended: ${this.#log}`);
    const url = `http://127.0.0.1:${this.#options.adminPort}${path}`;
    return fetch(url).then(
      (response) => response.text(),
      () => '',
    );
  }

  /** The serials of the certificates that it serves, in lower-case hex. */
  async serials(): Promise<readonly string[]> {
    const text = await this.admin('/certs');
    if (text === '') return [];
    const { certificates = [] } = JSON.parse(text) as {
      readonly certificates?: readonly { readonly cert_chain?: readonly Shown[] }[];
    };
    return certificates.flatMap(({ cert_chain: chain = [] }) =>
      chain.map(({ serial_number: serial }) => serial.toLowerCase()),
    );
  }

  /** Whether it was given this root. */
  async holds(rootDer: Buffer): Promise<boolean> {
    const dump = await this.admin('/config_dump?resource=dynamic_active_secrets');
    const root = rootDer.toString('base64');
    // PEM in bytes, or a bundle document in a string
    return [...dump.matchAll(/"inline_(bytes|string)": "([^"\\]*(?:\\.[^"\\]*)*)"/g)].some(
      ([, kind, text = '']) =>
        (kind === 'bytes' ? Buffer.from(text, 'base64').toString() : text)
          .replaceAll(/\s|\\n/g, '')
          .includes(root),
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await until(
      () => this.#child.exitCode !== null || this.#child.signalCode !== null,
      'Envoy to end',
    );
    await rm(this.#folder, { recursive: true, force: true });
  }
}

const pipe = (path: string) => ({ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] });
const local = (port: number) => ({
  socket_address: { address: '127.0.0.1', port_value: port },
});

function bootstrapOf(options: EnvoyOptions): object {
  const { name, port, adminPort, upstreamPort, socketPath, plainRoots = false } = options;
  const httpOptions = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  return {
    node: {
      id: name,
      cluster: 'test',
      ...(plainRoots ? { metadata: { disable_spiffe_cert_validation: 'true' } } : {}),
    },
    admin: { address: local(adminPort) },
    static_resources: {
      listeners: [listenerOf(options, port)],
      clusters: [
        {
          name: 'meshca',
          type: 'STATIC',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            [httpOptions]: {
              '@type': `type.googleapis.com/${httpOptions}`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: { cluster_name: 'meshca', endpoints: [pipe(socketPath)] },
        },
        ...(upstreamPort === undefined ? [] : [upstreamOf(options, upstreamPort)]),
      ],
    },
  };
}

function tlsContext({ svid, bundle, peer, api }: EnvoyOptions): object {
  const sds_config = {
    resource_api_version: 'V3',
    api_config_source: {
      api_type: api,
      transport_api_version: 'V3',
      set_node_on_first_message_only: api === 'DELTA_GRPC',
      grpc_services: [{ envoy_grpc: { cluster_name: 'meshca' } }],
    },
  };
  return {
    tls_params: {
      tls_minimum_protocol_version: 'TLSv1_3',
      // the maximum of a client is TLSv1_2 unless it is set
      tls_maximum_protocol_version: 'TLSv1_3',
    },
    tls_certificate_sds_secret_configs: [{ name: svid, sds_config }],
    combined_validation_context: {
      default_validation_context:
        peer === undefined
          ? {}
          : { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peer } }] },
      validation_context_sds_secret_config: { name: bundle, sds_config },
    },
  };
}

function listenerOf(options: EnvoyOptions, port: number): object {
  const forwards = options.upstreamPort !== undefined;
  const route = forwards
    ? { route: { cluster: 'upstream' } }
    : { direct_response: { status: 200, body: { inline_string: options.name } } };
  return {
    name: 'in',
    address: local(port),
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': type(
                'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              ),
              stat_prefix: 'in',
              route_config: {
                virtual_hosts: [
                  { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, ...route }] },
                ],
              },
              http_filters: [
                {
                  name: 'router',
                  typed_config: { '@type': type('extensions.filters.http.router.v3.Router') },
                },
              ],
            },
          },
        ],
        ...(forwards
          ? {}
          : {
              transport_socket: {
                name: 'tls',
                typed_config: {
                  '@type': tlsType('DownstreamTlsContext'),
                  require_client_certificate: true,
                  disable_stateless_session_resumption: true,
                  common_tls_context: tlsContext(options),
                },
              },
            }),
      },
    ],
  };
}

/** Each request on a connection of its own, so that each is a handshake. */
const upstreamOf = (options: EnvoyOptions, port: number): object => ({
  name: 'upstream',
  type: 'STATIC',
  connect_timeout: '10s',
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': type('extensions.upstreams.http.v3.HttpProtocolOptions'),
      common_http_protocol_options: { max_requests_per_connection: 1 },
      explicit_http_config: { http_protocol_options: {} },
    },
  },
  transport_socket: {
    name: 'tls',
    typed_config: {
      '@type': tlsType('UpstreamTlsContext'),
      max_session_keys: 0,
      common_tls_context: tlsContext(options),
    },
  },
  load_assignment: {
    cluster_name: 'upstream',
    endpoints: [{ lb_endpoints: [{ endpoint: { address: local(port) } }] }],
  },
});

/** Waits until each Envoy serves a certificate that it did not serve before `change`. */
export async function renewedBy(
  envoys: readonly EnvoyProcess[],
  change: () => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  const before = (await Promise.all(envoys.map((envoy) => envoy.serials()))).flat();
  await change();
  for (const envoy of envoys)
    await until(
      async () => (await envoy.serials()).some((serial) => !before.includes(serial)),
      'an Envoy has a new certificate',
    );
}

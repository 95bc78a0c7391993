import { PkiError } from '../../common/errors/index.ts';
import { isLoopback } from '../../common/runtime/index.ts';
import {
  startHttpListener,
  type HttpIdentity,
  type HttpListener,
  type HttpListenerDependencies,
  type HttpListenerLimits,
} from './listener.ts';
import type { HttpPlugin, ListenerKind } from './plugin.ts';
import { Routes } from './routes.ts';

/** The configuration of one listener. */
export interface HttpListenerSettings {
  readonly enabled: boolean;
  readonly address: string;
  readonly port: number;
  readonly trustedProxies: readonly string[];
}

export interface HttpFrontSettings {
  readonly publicBaseUrl?: string | undefined;
  readonly plain: HttpListenerSettings;
  readonly tls: HttpListenerSettings;
  readonly limits: HttpListenerLimits;
}

/**
 * The HTTP front: what meshca offers to others over HTTP, separate from the operations port. Owner
 * of its listeners. Plug-ins declare what they offer.
 */
export class HttpFront implements AsyncDisposable {
  readonly #settings: HttpFrontSettings;
  readonly #plugins: readonly HttpPlugin[];
  readonly #dependencies: HttpListenerDependencies;
  readonly #graceMs: number;
  #plain: HttpListener | undefined;
  #tls: HttpListener | undefined;

  private constructor(
    plugins: readonly HttpPlugin[],
    settings: HttpFrontSettings,
    dependencies: HttpListenerDependencies,
    graceMs: number,
  ) {
    this.#plugins = plugins;
    this.#settings = settings;
    this.#dependencies = dependencies;
    this.#graceMs = graceMs;
  }

  /**
   * Opens the plain listener.
   *
   * @throws PkiError SOCKET_IN_USE, CONFIG_INVALID
   */
  static async start(
    plugins: readonly HttpPlugin[],
    settings: HttpFrontSettings,
    dependencies: HttpListenerDependencies,
    graceMs = 3_000,
  ): Promise<HttpFront> {
    const lacking = plugins.find(({ needsPublicBaseUrl }) => needsPublicBaseUrl === true);
    if (lacking !== undefined && settings.publicBaseUrl === undefined)
      throw new PkiError('CONFIG_INVALID', `${lacking.name} needs http.publicBaseUrl`, {
        next: 'Set http.publicBaseUrl to the address under which clients reach this server.',
        grade: 'fatal',
      });
    const front = new HttpFront(plugins, settings, dependencies, graceMs);
    if (settings.plain.enabled) front.#plain = await front.#listen('plain');
    return front;
  }

  /** 0 while the listener is not open. */
  get plainPort(): number {
    return this.#plain?.port ?? 0;
  }

  /** 0 while the listener is not open. */
  get tlsPort(): number {
    return this.#tls?.port ?? 0;
  }

  /**
   * Opens the TLS listener if the configuration enables it. It follows the identity's renewals. May
   * be called again after a failure.
   *
   * @throws PkiError SOCKET_IN_USE, CONFIG_INVALID
   */
  async openTls(identity: HttpIdentity): Promise<void> {
    if (!this.#settings.tls.enabled || this.#tls !== undefined) return;
    this.#tls = await this.#listen('tls', identity);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#plain?.close(this.#graceMs), this.#tls?.close(this.#graceMs)]);
  }

  async #listen(name: 'plain' | 'tls', identity?: HttpIdentity): Promise<HttpListener> {
    const { publicBaseUrl, limits } = this.#settings;
    const { address, port, trustedProxies } = this.#settings[name];
    const kinds = kindsOf(name, address);
    const plugins = this.#plugins.filter(({ listeners }) =>
      listeners.some((kind) => kinds.includes(kind)),
    );
    const listener = await startHttpListener(
      {
        name,
        setting: `http.${name}`,
        address,
        port,
        trustedProxies,
        routes: new Routes(plugins),
        publicBaseUrl,
        limits,
        ...(identity === undefined ? {} : { identity }),
      },
      this.#dependencies,
    );
    const offered = plugins.map((plugin) => plugin.name);
    this.#dependencies.logger.info(
      { address, port: listener.port, offered },
      `the HTTP port (${name}) is open`,
    );
    return listener;
  }
}

function kindsOf(name: 'plain' | 'tls', address: string): readonly ListenerKind[] {
  if (name === 'tls') return ['tls'];
  return isLoopback(address) ? ['plain', 'loopback'] : ['plain'];
}

import {
  startHttpListener,
  type HttpIdentity,
  type HttpListener,
  type HttpListenerDependencies,
  type HttpListenerLimits,
} from './listener.ts';
import type { HttpPlugin } from './plugin.ts';
import { Routes } from './routes.ts';

interface EndpointAddress {
  readonly address: string;
  readonly port: number;
}

export interface FederationFrontSettings {
  /** Absent: there is no such endpoint. */
  readonly web: EndpointAddress | undefined;
  readonly spiffe: EndpointAddress | undefined;
  readonly limits: HttpListenerLimits;
}

type EndpointName = 'web' | 'spiffe';

/** How long answers that are under way may take when the server stops. */
const graceMs = 3_000;

/**
 * The bundle endpoints for foreign trust domains, one listener a profile. The only ports with TLS
 * 1.2, which the specification asks for (SPIFFE Federation, section 5.2.1). They ask no client for a
 * certificate. Owner of both listeners.
 */
export class FederationFront implements AsyncDisposable {
  readonly #plugin: HttpPlugin;
  readonly #settings: FederationFrontSettings;
  readonly #dependencies: HttpListenerDependencies;
  readonly #open = new Map<EndpointName, HttpListener>();

  constructor(
    plugin: HttpPlugin,
    settings: FederationFrontSettings,
    dependencies: HttpListenerDependencies,
  ) {
    this.#plugin = plugin;
    this.#settings = settings;
    this.#dependencies = dependencies;
  }

  /** 0 for a listener that is not open. */
  ports(): Readonly<Record<EndpointName, number>> {
    return { web: this.#open.get('web')?.port ?? 0, spiffe: this.#open.get('spiffe')?.port ?? 0 };
  }

  /**
   * Opens an endpoint if the configuration has it. It follows the identity's renewals. May be called
   * again after a failure.
   *
   * @throws PkiError SOCKET_IN_USE, CONFIG_INVALID
   */
  async open(name: EndpointName, identity: HttpIdentity): Promise<void> {
    const place = this.#settings[name];
    if (place === undefined || this.#open.has(name)) return;
    const { limits } = this.#settings;
    const listener = await startHttpListener(
      {
        name: `federation-${name}`,
        setting: `federation.${name}`,
        ...place,
        trustedProxies: [],
        identity,
        minVersion: 'TLSv1.2',
        routes: new Routes([this.#plugin]),
        publicBaseUrl: undefined,
        limits,
      },
      this.#dependencies,
    );
    this.#open.set(name, listener);
    this.#dependencies.logger.info(
      { address: place.address, port: listener.port },
      `the bundle endpoint (https_${name}) is open`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#open.values()].map((listener) => listener.close(graceMs)));
  }
}

import { PkiError } from '../common/errors/index.ts';
import { errorFields } from '../common/runtime/index.ts';
import type { ServerConfig } from '../config/index.ts';
import { acmePlugin, type HttpPlugin } from '../server/index.ts';
import {
  AcmeUrls,
  createAcme,
  tokenExchange,
  type Acme,
  type RunningAcme,
} from '../services/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import type { IssuingStage } from './issuing.ts';
import type { ServiceStage } from './services.ts';
import { serviceSettings } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
  readonly service: ServiceStage;
}

const firstRetryMs = 500;
const longestRetryMs = 15_000;

/**
 * The ACME server, once the token has its secret key. Until then every request is answered with
 * 503. Owner of the attempts to open it.
 */
export class AcmeDoor implements AsyncDisposable {
  readonly plugin: HttpPlugin;
  readonly #below: Below;
  readonly #publicBaseUrl: string;
  #running: RunningAcme | undefined;
  #cancelRetry: () => void = () => {};
  #isClosed = false;
  #opening: Promise<void> | undefined;

  constructor(below: Below, publicBaseUrl: string) {
    this.#below = below;
    this.#publicBaseUrl = publicBaseUrl;
    const { context, service } = below;
    this.plugin = acmePlugin({
      urls: new AcmeUrls(publicBaseUrl),
      present: () => this.#acme,
      exchange: (request) =>
        tokenExchange(request, {
          exchange: service.services.eabExchange,
          observe: (resource, result) => context.metrics.acme.answered(resource, result),
        }),
    });
  }

  get #acme(): Acme | undefined {
    return this.#running?.acme;
  }

  /** Opens it now, or as soon as the token allows. */
  open(): Promise<void> {
    if (this.#running !== undefined || this.#isClosed) return Promise.resolve();
    this.#opening ??= this.#attempt(firstRetryMs).finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry();
    await this.#opening;
    await this.#running?.close();
  }

  async #attempt(retryMs: number): Promise<void> {
    const { context } = this.#below;
    const logger = context.logger.child({ part: 'acme' });
    try {
      const running = await createAcme(
        partsOf(this.#below),
        settingsOf(context, this.#publicBaseUrl),
      );
      if (this.#isClosed) return;
      this.#running = running;
      running.start();
      logger.info({ directory: running.acme.urls.directory }, 'the ACME server is open');
    } catch (thrown) {
      const { code } = PkiError.from(thrown);
      const isMissing = code === 'HSM_KEY_NOT_FOUND' || code === 'HSM_KEY_UNFIT';
      logger.error({ ...errorFields(thrown), alert: isMissing }, 'the ACME server is not open yet');
      if (this.#isClosed) return;
      const nextMs = Math.min(2 * retryMs, longestRetryMs);
      this.#cancelRetry = context.clock.after(retryMs, () => {
        this.#opening ??= this.#attempt(nextMs).finally(() => (this.#opening = undefined));
      });
    }
  }
}

/** Undefined: the configuration has none. */
export const acmeDoor = (below: Below): AcmeDoor | undefined => {
  const { acme, http } = below.context.config;
  return acme.enabled ? new AcmeDoor(below, http.publicBaseUrl ?? '') : undefined;
};

function partsOf({ context, tokens, records, authorities, issuing, service }: Below) {
  const { config, clock, random, logger, metrics, uid } = context;
  const { services, acmeMac, verifier } = service;
  return {
    vantage: services.sync.vantage,
    ...{ store: records.store, issuer: issuing.issuer, authorities: authorities.registry },
    ...{ inventory: service.inventory, revoker: services.revoker, refusals: services.refusals },
    ...{ mac: acmeMac, owners: () => records.tenantOwners.present() },
    isIssuer: (name: string) => verifier.isIssuer(name, 'acme'),
    services: serviceSettings(config, uid),
    listeners: () => listenersOf(config),
    held: () => !tokens.gate.isOpen,
    canSign: () => signing.has(tokens.gate.signers.state().status),
    ...{ clock, random, logger: logger.child({ part: 'acme' }), observe: metrics.acme },
  };
}

/** States of the signers in which they sign. */
const signing: ReadonlySet<string> = new Set(['ready', 'degraded']);

const settingsOf = ({ config }: ServerContext, publicBaseUrl: string) => ({
  ...config.acme,
  publicBaseUrl,
});

/** Every address and port at which this server may listen. */
const listenersOf = ({ listen, ops, http, federation }: ServerConfig) =>
  [listen, ops, http.plain, http.tls, federation.web, federation.spiffe].filter(
    (each) => each !== undefined,
  );

import type { CsrSigner, SvidManager } from '../ports/svids.ts';
import type { AgentMetrics } from '../metrics.ts';
import { FileWorkloadKeyStore } from '../state/index.ts';
import {
  csrSigner,
  JwtSvids,
  KeyPool,
  SigningQueue,
  svidManager,
  X509Svids,
} from '../svid/index.ts';
import type { IssuerSession, Replacements } from '../sync/index.ts';
import type { EntriesStage } from './entries.ts';
import type { AgentEnvironment } from './environment.ts';
import type { Late } from './late.ts';
import type { TrustStage } from './trust.ts';

/** Fourth stage: the keys and certificates of the workloads. */
export interface SvidsStage extends AsyncDisposable {
  readonly x509: X509Svids;
  readonly jwt: JwtSvids;
  readonly manager: SvidManager;
  readonly csrs: CsrSigner;
  /** Restores the stored keys whose entries were stored too. Call it after the session is made. */
  restore(): Promise<void>;
}

export interface SvidsDependencies {
  readonly trust: TrustStage;
  readonly entries: EntriesStage;
  readonly replacements: Replacements;
  readonly session: Late<IssuerSession>;
  readonly metrics: AgentMetrics;
}

/**
 * Shorter than the wait for the first message of a stream, so that its reader is told the reason.
 */
const readyDeadlineMs = 4_500;

export function openSvids(
  environment: AgentEnvironment,
  dependencies: SvidsDependencies,
): SvidsStage {
  const { config, logger, clock } = environment;
  const { trust, entries, session, metrics } = dependencies;
  const keys = new KeyPool(config.svid.keyType, config.svid.readyKeys);
  const x509 = createX509(environment, dependencies, keys);
  const jwt = new JwtSvids({
    sign: (request) => session.value.signJwtSvid(request),
    cache: entries.cache,
    clock,
    logger,
    size: config.svid.jwtCache,
    onSigned: (succeeded) => metrics.renewal('jwt', succeeded),
  });
  return {
    x509,
    jwt,
    manager: svidManager(x509, jwt),
    csrs: csrSigner({
      trustDomain: trust.trustDomain,
      roots: () => trust.bundles.roots(),
      sign: (request) => session.value.signX509Svids(request),
    }),
    async restore() {
      if (entries.restored) await x509.restore();
    },
    async [Symbol.asyncDispose]() {
      x509.close();
      keys.close();
    },
  };
}

function createX509(
  { config, logger, clock, random }: AgentEnvironment,
  { trust, entries, replacements, session, metrics }: SvidsDependencies,
  keys: KeyPool,
): X509Svids {
  const { svid } = config;
  const queue = new SigningQueue((request) => session.value.signX509Svids(request), keys, clock);
  return new X509Svids({
    trustDomain: trust.trustDomain,
    cache: entries.cache,
    queue,
    roots: () => trust.bundles.roots(),
    connected: () => session.value.connected(),
    clock,
    random,
    logger: logger.child({ part: 'svid' }),
    warm: svid.warm,
    prefetch: svid.prefetch,
    readyDeadlineMs,
    events: {
      renewed: () => {
        metrics.renewal('x509', true);
        // the shortest life in use may have changed
        session.value.reportSoon();
      },
      failed: (code) => {
        metrics.renewal('x509', false);
        metrics.refused(code);
      },
      expiredInUse: () => metrics.expiredInUse(),
      replaced: (serial) => replacements.confirmed(serial),
    },
    ...(svid.persistWorkloadKeys
      ? { keyStore: new FileWorkloadKeyStore(svid.workloadKeysDir) }
      : {}),
  });
}

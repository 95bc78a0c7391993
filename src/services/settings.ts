import { PkiError } from '../common/errors/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import { shortLivedMaximumSeconds } from '../domain/index.ts';
import type { Rate } from '../common/runtime/index.ts';

/** What configuration decides about the services. Durations in seconds. */
export interface ServiceSettings {
  readonly trustDomain: TrustDomain;
  readonly serverVersion: string;
  /** DNS names of the server's own certificate: nobody else gets them. */
  readonly reservedDnsNames: readonly string[];
  /** uids that may use the admin socket, besides 0 and the server's own. */
  readonly adminUids: readonly number[];
  readonly serverUid: number;
  /** There is a CRL distribution point, which certificates of the revocable profile need. */
  readonly revocable: boolean;
  readonly minimumTtlSeconds: number;
  readonly defaultX509TtlSeconds: number;
  readonly maximumX509TtlSeconds: number;
  readonly defaultJwtTtlSeconds: number;
  readonly maximumJwtTtlSeconds: number;
  readonly agentTtlSeconds: number;
  /**
   * How long after the expiry of its SVID an agent may come back by proving its last recorded key.
   */
  readonly recoveryGraceSeconds: number;
  readonly defaultJoinTokenTtlSeconds: number;
  readonly maximumJoinTokenTtlSeconds: number;
  readonly challengeTtlSeconds: number;
  /** Exchanges that wait for the answer to a challenge. */
  readonly maximumPendingChallenges: number;
  /** Of all attestations together. */
  readonly attestationRate: Rate;
  /** Of certificates and tokens per caller. */
  readonly signingRate: Rate;
  /** Longest life of what a downstream workload gets. */
  readonly downstreamTtlSeconds: number;
  /** Of CA certificates for one downstream entry, and for all: each opens the root token. */
  readonly downstreamRate: Rate;
  readonly downstreamTotalRate: Rate;
  /**
   * Of refusals of one authenticated caller that get a record of their own; those beyond are
   * summarised.
   */
  readonly refusalRate: Rate;
  /** Within which agents replace what a tainted authority signed. */
  readonly taintWindowSeconds: number;
}

export const defaultServiceSettings = {
  reservedDnsNames: [],
  adminUids: [],
  revocable: false,
  minimumTtlSeconds: 10,
  defaultX509TtlSeconds: 3600,
  maximumX509TtlSeconds: 24 * 3600,
  defaultJwtTtlSeconds: 300,
  maximumJwtTtlSeconds: 3600,
  agentTtlSeconds: 3600,
  recoveryGraceSeconds: 7 * 24 * 3600,
  defaultJoinTokenTtlSeconds: 600,
  maximumJoinTokenTtlSeconds: 7 * 24 * 3600,
  challengeTtlSeconds: 30,
  maximumPendingChallenges: 1000,
  attestationRate: { perSecond: 100, burst: 500 },
  signingRate: { perSecond: 500, burst: 5000 },
  downstreamTtlSeconds: 7 * 24 * 3600,
  downstreamRate: { perSecond: 1 / 30, burst: 5 },
  downstreamTotalRate: { perSecond: 1 / 5, burst: 10 },
  refusalRate: { perSecond: 5, burst: 50 },
  taintWindowSeconds: 600,
} as const satisfies Partial<ServiceSettings>;

/** Refuses settings that contradict each other. Throws CONFIG_INVALID. */
export function checkServiceSettings(settings: ServiceSettings): void {
  const ordered = (what: string, ...values: readonly number[]): void => {
    const bad = values.some(
      (value, index) =>
        !Number.isSafeInteger(value) || value < 1 || value < (values[index - 1] ?? 0),
    );
    if (bad)
      throw new PkiError(
        'CONFIG_INVALID',
        `${what}: ${values.join(', ')} s are not whole seconds in rising order`,
      );
  };
  ordered(
    'minimum, default and maximum X.509 lifetime',
    settings.minimumTtlSeconds,
    settings.defaultX509TtlSeconds,
    settings.maximumX509TtlSeconds,
  );
  ordered(
    'minimum, default and maximum JWT lifetime',
    settings.minimumTtlSeconds,
    settings.defaultJwtTtlSeconds,
    settings.maximumJwtTtlSeconds,
  );
  ordered(
    'minimum lifetime, lifetime of agents and what a short-lived certificate may have',
    settings.minimumTtlSeconds,
    settings.agentTtlSeconds,
    shortLivedMaximumSeconds,
  );
  ordered(
    'default and maximum life of join tokens',
    settings.defaultJoinTokenTtlSeconds,
    settings.maximumJoinTokenTtlSeconds,
  );
  for (const rate of [
    settings.attestationRate,
    settings.signingRate,
    settings.refusalRate,
    settings.downstreamRate,
    settings.downstreamTotalRate,
  ]) {
    if (!(rate.perSecond > 0) || !(rate.burst >= 1))
      throw new PkiError(
        'CONFIG_INVALID',
        'a rate needs perSecond above 0 and a burst of at least 1',
      );
  }
}

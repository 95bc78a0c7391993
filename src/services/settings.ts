import { PkiError } from '../common/errors/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import { shortLivedMaximumSeconds, type ReservedDnsName } from '../domain/index.ts';
import type { FederationSettings } from './federation/federation-settings.ts';
import type { Rate } from '../common/runtime/index.ts';

/** The configuration of the services. Durations are in seconds. */
export interface ServiceSettings {
  readonly trustDomain: TrustDomain;
  readonly serverVersion: string;
  /**
   * DNS names that only the CA itself gives: those of its own certificates, and the names of proxies
   * of Linkerd. No entry, delegation or operator can give them.
   */
  readonly reservedDnsNames: readonly ReservedDnsName[];
  /** The IDs by which delegations grant identities to the callers of control planes' fronts. */
  readonly controlPlaneIds: readonly string[];
  /** uids that may use the admin socket, besides 0 and the server's own. */
  readonly adminUids: readonly number[];
  readonly serverUid: number;
  /** Whether there is a CRL distribution point. Certificates of the revocable profile need one. */
  readonly revocable: boolean;
  readonly minimumTtlSeconds: number;
  readonly defaultX509TtlSeconds: number;
  readonly maximumX509TtlSeconds: number;
  readonly defaultJwtTtlSeconds: number;
  readonly maximumJwtTtlSeconds: number;
  readonly agentTtlSeconds: number;
  /** How long after the expiry of its SVID an agent may recover with its last recorded key. */
  readonly recoveryGraceSeconds: number;
  readonly defaultJoinTokenTtlSeconds: number;
  readonly maximumJoinTokenTtlSeconds: number;
  readonly challengeTtlSeconds: number;
  /** Maximum number of exchanges that wait for the answer to a challenge. */
  readonly maximumPendingChallenges: number;
  /** The rate of all attestations together. */
  readonly attestationRate: Rate;
  /** The rate of certificates and tokens, per caller. */
  readonly signingRate: Rate;
  /** Longest life of a downstream CA certificate. */
  readonly downstreamTtlSeconds: number;
  /** The rate of CA certificates per downstream entry, and in total. Each opens the root token. */
  readonly downstreamRate: Rate;
  readonly downstreamTotalRate: Rate;
  /**
   * The rate of refusals per authenticated caller that are recorded singly. Further ones are
   * summarised.
   */
  readonly refusalRate: Rate;
  /** The time in which agents replace certificates of a tainted authority. */
  readonly taintWindowSeconds: number;
  /** The share of the nodes with handshake reports that may lie; below 0.5. */
  readonly canaryLyingShare: number;
  readonly federation: FederationSettings;
  /** Of ACME; undefined: this server has none. */
  readonly acmeDirectoryUrl: string | undefined;
}

/** No join token lives longer. */
export const maximumJoinTokenTtlSeconds = 7 * 24 * 3600;

export const defaultServiceSettings = {
  reservedDnsNames: [],
  controlPlaneIds: [],
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
  maximumJoinTokenTtlSeconds,
  challengeTtlSeconds: 30,
  maximumPendingChallenges: 1000,
  attestationRate: { perSecond: 100, burst: 500 },
  signingRate: { perSecond: 500, burst: 5000 },
  downstreamTtlSeconds: 7 * 24 * 3600,
  downstreamRate: { perSecond: 1 / 30, burst: 5 },
  downstreamTotalRate: { perSecond: 1 / 5, burst: 10 },
  refusalRate: { perSecond: 5, burst: 50 },
  taintWindowSeconds: 600,
  canaryLyingShare: 0.25,
  federation: { minimumSeconds: 10, maximumSeconds: 3600, timeoutSeconds: 10 },
  acmeDirectoryUrl: undefined,
} as const satisfies Partial<ServiceSettings>;

/**
 * Refuses settings that contradict each other.
 *
 * @throws PkiError CONFIG_INVALID
 */
export function checkServiceSettings(settings: ServiceSettings): void {
  const ordered = (names: string, ...values: readonly number[]): void => {
    const bad = values.some(
      (value, index) =>
        !Number.isSafeInteger(value) || value < 1 || value < (values[index - 1] ?? 0),
    );
    if (bad)
      throw new PkiError(
        'CONFIG_INVALID',
        `${names}: ${values.join(', ')} s are not whole seconds in rising order`,
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

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { PkiError } from '../common/errors/index.ts';
import { controlPlaneId, TrustDomain } from '../common/spiffe/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import { certificatesFromPem } from '../common/x509/index.ts';
import { version } from '../common/runtime/version.ts';
import { authoritySetting, readPin, type ServerConfig } from '../config/index.ts';
import {
  rotatedKinds,
  type ReservedDnsName,
  type RotatedKind,
  type TokenRole,
} from '../domain/index.ts';
import type { TokenConfig } from '../hsm/index.ts';
import {
  VaultSession,
  vaultUpstream,
  type AuthorityPlan,
  type MakerDependencies,
  type UpstreamAuthority,
} from '../issuance/index.ts';
import {
  AcmeUrls,
  configuredFronts,
  controlPlaneTypes,
  defaultServiceSettings,
  NodeAttestors,
  nodeAttestorTypes,
  type ConfiguredFront,
  type NodeAttestorDependencies,
  type ServiceSettings,
} from '../services/index.ts';

/** The configured control planes, with the names by which their clients dial this server. */
export const frontsOf = (config: ServerConfig): readonly ConfiguredFront[] =>
  configuredFronts(controlPlaneTypes, config.controlPlanes);

/** Translates the configuration for each part. Nothing here decides. */
export function serviceSettings(config: ServerConfig, serverUid: number): ServiceSettings {
  const { issuance, attestation, limits } = config;
  return {
    ...defaultServiceSettings,
    trustDomain: TrustDomain.of(config.trustDomain),
    serverVersion: version,
    reservedDnsNames: reservedDnsNames(config),
    controlPlaneIds: frontsOf(config).flatMap(({ type, delegatedIssuers }) =>
      delegatedIssuers.map((name) =>
        controlPlaneId(TrustDomain.of(config.trustDomain), type, name).toString(),
      ),
    ),
    adminUids: config.admin.uids,
    serverUid,
    revocable: issuance.crlBaseUrl !== undefined,
    minimumTtlSeconds: issuance.minimumTtlSeconds,
    defaultX509TtlSeconds: issuance.defaultTtlSeconds,
    maximumX509TtlSeconds: issuance.maximumTtlSeconds,
    defaultJwtTtlSeconds: issuance.jwtDefaultTtlSeconds,
    maximumJwtTtlSeconds: issuance.jwtMaximumTtlSeconds,
    agentTtlSeconds: issuance.agentTtlSeconds,
    downstreamTtlSeconds: issuance.downstreamTtlSeconds,
    recoveryGraceSeconds: attestation.graceDays * 86_400,
    defaultJoinTokenTtlSeconds: attestation.joinTokenTtlSeconds,
    attestationRate: { perSecond: attestation.perSecond, burst: attestation.perSecond * 5 },
    signingRate: { perSecond: limits.signsPerSecond, burst: limits.signsBurst },
    canaryLyingShare: config.rotation.canaryLyingShare,
    federation: {
      minimumSeconds: config.federation.pollMinimumSeconds,
      maximumSeconds: config.federation.pollMaximumSeconds,
      timeoutSeconds: config.federation.timeoutSeconds,
    },
    acmeDirectoryUrl:
      config.acme.enabled && config.http.publicBaseUrl !== undefined
        ? new AcmeUrls(config.http.publicBaseUrl).directory
        : undefined,
    downstreamTotalRate: {
      perSecond: limits.downstreamPerMinute / 60,
      burst: Math.max(10, limits.downstreamPerMinute),
    },
  };
}

/** What only the CA itself gives. */
export const reservedDnsNames = (config: ServerConfig): readonly ReservedDnsName[] => [
  ...config.listen.dnsNames,
  ...frontsOf(config).flatMap(({ dnsNames, reserved }) => [...dnsNames, ...reserved]),
];

/** The sources of a token's PIN, and the logger for a warning about a file that others can read. */
export interface PinSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly vault: VaultSession | undefined;
  readonly logger: Logger;
}

/**
 * The place of a token, with its PIN.
 *
 * @throws PkiError HSM_PIN_MISSING, HSM_PIN_FILE_OPEN, UPSTREAM_*
 */
export async function tokenConfig(
  config: ServerConfig,
  role: TokenRole,
  { env, vault, logger }: PinSources,
): Promise<TokenConfig> {
  const { hsm } = config;
  if (role === 'external')
    throw new PkiError('INTERNAL', 'no token holds the key of an external authority');
  const token = hsm[role];
  if (token === undefined)
    throw new PkiError(
      'CONFIG_INVALID',
      `an authority has its key in the ${role} token, but hsm.${role} is not set`,
    );
  const { pinVault } = token;
  const { module = hsm.module, softhsmConf = hsm.softhsmConf } =
    role === 'standby' ? (hsm.standby ?? {}) : {};
  const pin =
    pinVault === undefined || vault === undefined
      ? readPin(token, env, logger)
      : await vault.secret(pinVault);
  return {
    modulePath: module,
    tokenLabel: token.label,
    pin,
    ...(softhsmConf === undefined ? {} : { environment: { SOFTHSM2_CONF: softhsmConf } }),
  };
}

export const signerCount = (config: ServerConfig): number =>
  config.hsm.signers ?? Math.max(1, availableParallelism());
export const standbySignerCount = (config: ServerConfig): number =>
  config.hsm.standby?.signers ?? signerCount(config);

/**
 * The configured types of node attestation.
 *
 * @throws PkiError CONFIG_INVALID
 */
export const nodeAttestors = (
  config: ServerConfig,
  dependencies: Omit<NodeAttestorDependencies, 'readFile'>,
): NodeAttestors =>
  new NodeAttestors(TrustDomain.of(config.trustDomain), nodeAttestorTypes, config.attestation, {
    ...dependencies,
    readFile: readPem,
  });

/**
 * Reads a PEM file that the configuration names.
 *
 * @throws PkiError CONFIG_INVALID
 */
export function readPem(path: string, key: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new PkiError(
      'CONFIG_INVALID',
      `${key}: ${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { cause: thrown, grade: 'fatal' },
    );
  }
}

/** The session with Vault or OpenBao, if one is configured. It logs in at first use. */
export async function vaultSession(
  config: ServerConfig,
  clock: Clock,
  logger: Logger,
): Promise<VaultSession | undefined> {
  const { upstream } = config.authorities;
  if (upstream === undefined) return undefined;
  const { approle, token, kubernetes } = upstream.auth;
  const auth =
    approle !== undefined
      ? { method: 'approle' as const, ...approle }
      : kubernetes !== undefined
        ? { method: 'kubernetes' as const, ...kubernetes }
        : { method: 'token' as const, file: (token as { file: string }).file };
  return VaultSession.open({
    address: upstream.address,
    auth,
    timeoutMs: upstream.timeoutSeconds * 1000,
    clock,
    logger,
    ...(upstream.namespace === undefined ? {} : { namespace: upstream.namespace }),
    ...(upstream.caFile === undefined ? {} : { caPem: upstreamCas(config) as string }),
  });
}

/**
 * The CAs under which Vault or OpenBao proves itself. Undefined: those of the system.
 *
 * @throws PkiError CONFIG_INVALID
 */
export function upstreamCas({ authorities: { upstream } }: ServerConfig): string | undefined {
  if (upstream?.caFile === undefined) return undefined;
  const pem = readPem(upstream.caFile, 'authorities.upstream.caFile');
  const parsed = certificatesFromPem(pem);
  if (parsed.ok) return pem;
  throw new PkiError(
    'CONFIG_INVALID',
    `authorities.upstream.caFile: ${upstream.caFile} holds no certificates: ${parsed.error.message}`,
    { grade: 'fatal' },
  );
}

/** The upstream that signs our intermediates, if one is configured. */
export function upstreamAuthority(
  config: ServerConfig,
  vault: VaultSession | undefined,
  clock: Clock,
): UpstreamAuthority | undefined {
  const { upstream, source } = config.authorities;
  if (upstream === undefined || vault === undefined || source !== 'upstream') return undefined;
  return vaultUpstream({
    vault,
    mount: upstream.mount,
    rootSha256: upstream.rootSha256,
    clock,
    ...(upstream.issuerRef === undefined ? {} : { issuerRef: upstream.issuerRef }),
  });
}

/** Life of an issuing intermediate, in seconds. */
export const issuingLifeSeconds = ({ authorities }: ServerConfig): number =>
  ((authorities.source === 'upstream' ? authorities.upstream?.ttlDays : undefined) ??
    authorities.issuing.lifeDays) * 86_400;

/**
 * The life that an imported authority must have left, so that rotation has time: three times the
 * longest leaf (see `contradiction` in config/).
 */
export const minimumAuthorityLifeSeconds = ({ issuance }: ServerConfig): number =>
  3 * Math.max(issuance.maximumTtlSeconds, issuance.agentTtlSeconds, issuance.serverTtlSeconds);

/** Key type and life of each kind of authority. */
export function authorityPlans({ authorities }: ServerConfig): MakerDependencies['plans'] {
  const plan = (kind: RotatedKind): AuthorityPlan => {
    const { keyType, lifeDays } = authorities[authoritySetting[kind]];
    return { keyType, lifeSeconds: lifeDays * 86_400 };
  };
  return {
    ...Object.fromEntries(rotatedKinds.map((kind) => [kind, plan(kind)] as const)),
    log: logPlan,
  };
}

/**
 * Always P-256: C2SP signed-note has no other type that a token can sign. The key does not expire,
 * so that old checkpoints can still be verified.
 */
export const logPlan: AuthorityPlan = { keyType: 'ec-p256', lifeSeconds: 36_500 * 86_400 };

/** URL of the certificate of an authority, beside its CRL. */
export const issuerUrlOf =
  ({ issuance: { crlBaseUrl } }: ServerConfig) =>
  (authorityId: string): string | undefined =>
    crlBaseUrl === undefined ? undefined : `${crlBaseUrl.replace(/\/$/, '')}/${authorityId}.cer`;

/** URL of the OCSP responder for the leaves of an authority; undefined: there is none. */
export const ocspUrlOf =
  ({ names: { ocsp } }: ServerConfig) =>
  (authorityId: string): string | undefined =>
    ocsp.baseUrl === undefined ? undefined : `${ocsp.baseUrl.replace(/\/$/, '')}/${authorityId}`;

/** The URL that the leaves of a shard name; undefined: no CRL is published. */
export const shardUrlOf =
  ({ issuance: { crlBaseUrl } }: ServerConfig) =>
  (authorityId: string, shard: number): string | undefined =>
    crlBaseUrl === undefined
      ? undefined
      : `${crlBaseUrl.replace(/\/$/, '')}/${authorityId}/${shard}.crl`;

/** URL of the complete CRL of an authority; undefined: no CRL is published. */
export const crlUrlOf =
  ({ issuance: { crlBaseUrl } }: ServerConfig) =>
  (authorityId: string): string | undefined =>
    crlBaseUrl === undefined ? undefined : `${crlBaseUrl.replace(/\/$/, '')}/${authorityId}.crl`;

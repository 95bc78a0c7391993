import { join } from 'node:path';
import { fail, ok, PkiError, type Result } from '../common/errors/index.ts';
import { noteTypes, parseVerifierKey } from '../common/tlog/index.ts';
import { isLoopback, isLoopbackUrl, type Logger } from '../common/runtime/index.ts';
import { configJsonSchema, loadConfig } from '../common/runtime/config-loader.ts';
import {
  namesLives,
  rotatedKinds,
  scheduleProblem,
  shortLivedMaximumSeconds,
  type RotatedKind,
  type RotationPolicy,
} from '../domain/index.ts';
import { readPinFile } from '../hsm/index.ts';
import { IpRange } from '../common/policy/index.ts';
import { tokensContradiction } from '../services/tokens/index.ts';
import { acmeContradiction } from './acme-contradiction.ts';
import { serverConfigSchema, type ServerConfig } from './schema.ts';

export const serverEnvPrefix = 'MESHCA_SERVER_';

/**
 * Reads file and environment into one frozen, validated record. Contradictions between keys are
 * found here too.
 */
export async function loadServerConfig(source: {
  readonly path?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}): Promise<Result<ServerConfig>> {
  const loaded = await loadConfig(serverConfigSchema, {
    ...source,
    envPrefix: serverEnvPrefix,
    ignoreEnv: [`${serverEnvPrefix}CONFIG`, ...pinVariables(source.env)],
  });
  if (!loaded.ok) return loaded;
  const problem = contradiction(loaded.value);
  return problem === undefined ? ok(loaded.value) : fail('CONFIG_INVALID', problem);
}

export const serverJsonSchema = (): object =>
  configJsonSchema(serverConfigSchema, 'meshca server configuration');

/** The paths that follow from dataDir by default. */
export const databasePath = (config: ServerConfig): string =>
  config.database.path ?? join(config.dataDir, 'meshca.db');
export const adminSocketPath = (config: ServerConfig): string =>
  config.admin.socketPath ?? join(config.dataDir, 'admin.sock');

/**
 * PINs may come from variables with any name. Variables with our prefix among them are not keys of
 * the file.
 */
const pinVariables = (env: Readonly<Record<string, string | undefined>>): string[] =>
  Object.keys(env).filter((name) => /_PIN$/.test(name));

/**
 * Reads a token's PIN from its file or variable. From here on the PIN is only in memory, never in
 * the configuration record.
 *
 * @throws PkiError HSM_PIN_MISSING, HSM_PIN_FILE_OPEN
 */
export function readPin(
  token: {
    readonly label: string;
    readonly pinFile?: string | undefined;
    readonly pinEnv?: string | undefined;
  },
  env: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): string {
  if (token.pinFile !== undefined) return readPinFile(token.pinFile, token.label, logger);
  const pin = token.pinEnv === undefined ? undefined : env[token.pinEnv];
  if (pin !== undefined && pin !== '') return pin;
  throw new PkiError(
    'HSM_PIN_MISSING',
    token.pinEnv === undefined
      ? `neither pinFile nor pinEnv is set for token ${token.label}`
      : `the variable ${token.pinEnv} with the PIN of token ${token.label} is not set`,
    { grade: 'fatal' },
  );
}

/** The policy of rotation from the configuration. */
export function rotationPolicy(config: ServerConfig): RotationPolicy {
  const { issuance, authorities, names, rotation, hsm } = config;
  const { web, spiffe } = config.federation;
  // SPIFFE Federation, section 6.1: relying parties outside learn a key at their next polls
  const hints = web === undefined && spiffe === undefined ? 2 : 5;
  const hint = hints * issuance.bundleRefreshHintSeconds;
  return {
    longestLeafSeconds: Math.max(
      issuance.maximumTtlSeconds,
      issuance.agentTtlSeconds,
      issuance.serverTtlSeconds,
    ),
    longestJwtSeconds: issuance.jwtMaximumTtlSeconds,
    issuingLifeSeconds: authorities.issuing.lifeDays * 86_400,
    marginSeconds: rotation.marginSeconds,
    retireMarginSeconds: rotation.retireMarginSeconds,
    names: {
      longestLeafSeconds: namesLives.classic.maximum,
      issuingLifeSeconds: authorities.namesIssuing.lifeDays * 86_400,
    },
    unseenSeconds: {
      root: hint,
      jwt: Math.max(hint, rotation.jwksCacheSeconds),
      'names-root': names.rootPublishedSeconds,
    },
    idle: names.enabled ? [] : ['names-root', 'names-issuing'],
    prepareAtLifeFraction: rotation.automatic ? rotation.prepareAtPercent / 100 : undefined,
    onDeadline: rotation.onDeadline,
    canaryLyingShare: rotation.canaryLyingShare,
    imported: authorities.source === 'hsm' ? [] : ['root', 'issuing'],
    ...(hsm.standby === undefined
      ? {}
      : {
          standby: authorities.source === 'hsm' ? ['issuing', 'jwt'] : ['jwt'],
          standbyAfterSeconds:
            hsm.standby.activate === 'automatic' ? hsm.standby.afterSeconds : undefined,
        }),
  };
}

/**
 * Lives with which a successor could not be active before the present authority would cut the lives
 * it signs.
 */
function scheduleContradiction(config: ServerConfig): string | undefined {
  const policy = rotationPolicy(config);
  for (const kind of rotatedKinds) {
    if (policy.imported.includes(kind) || policy.idle?.includes(kind) === true) continue;
    const setting = authoritySetting[kind];
    const { lifeDays } = config.authorities[setting];
    const problem = scheduleProblem(kind, lifeDays * 86_400, policy);
    if (problem === undefined) continue;
    return (
      `authorities.${setting}.lifeDays (${lifeDays}) leaves ${problem.missingSeconds} s too ` +
      `little between rotation.prepareAtPercent (${config.rotation.prepareAtPercent}) and the ` +
      'moment from which what it signs would be cut: raise it to at least ' +
      `${Math.ceil(problem.neededLifeSeconds / 86_400)}, lower rotation.prepareAtPercent, or ` +
      `lower ${limitingSetting[kind]}`
    );
  }
  return undefined;
}

/** What an authority of each kind signs, and must not cut. */
const limitingSetting: Readonly<Record<RotatedKind, string>> = {
  root: 'authorities.issuing.lifeDays',
  issuing: 'the longest TTL in issuance',
  jwt: 'issuance.jwtMaximumTtlSeconds',
  'names-root': 'authorities.namesIssuing.lifeDays',
  'names-issuing': 'rotation.marginSeconds',
};

/** The key in `authorities` of each kind. */
export const authoritySetting = {
  root: 'root',
  issuing: 'issuing',
  jwt: 'jwt',
  'names-root': 'namesRoot',
  'names-issuing': 'namesIssuing',
} as const satisfies Readonly<Record<RotatedKind, keyof ServerConfig['authorities']>>;

/** Lives of authorities that are too short for what is above or below them. */
function lifeContradiction({ issuance, authorities }: ServerConfig): string | undefined {
  const day = 86_400;
  if (authorities.issuing.lifeDays > authorities.root.lifeDays)
    return (
      `authorities.issuing.lifeDays (${authorities.issuing.lifeDays}) is longer than ` +
      `authorities.root.lifeDays (${authorities.root.lifeDays}): lower the first or raise the ` +
      'second'
    );
  if (authorities.namesIssuing.lifeDays > authorities.namesRoot.lifeDays)
    return (
      `authorities.namesIssuing.lifeDays (${authorities.namesIssuing.lifeDays}) is longer than ` +
      `authorities.namesRoot.lifeDays (${authorities.namesRoot.lifeDays}): lower the first or ` +
      'raise the second'
    );
  const longestLeaf = Math.max(
    issuance.maximumTtlSeconds,
    issuance.agentTtlSeconds,
    issuance.serverTtlSeconds,
  );
  // Rotation needs time: a successor is prepared in the last third of an issuer's life, when the
  // issuer must still sign leaves of full life.
  if (longestLeaf > (authorities.issuing.lifeDays * day) / 3)
    return (
      `the longest leaf (${longestLeaf} s, from issuance.maximumTtlSeconds, agentTtlSeconds ` +
      'or serverTtlSeconds) is longer than a third of authorities.issuing.lifeDays ' +
      `(${authorities.issuing.lifeDays}): leaves would be cut before the authority is ` +
      `rotated; raise lifeDays to at least ${Math.ceil((3 * longestLeaf) / day)}, or lower ` +
      'the TTL'
    );
  if (issuance.jwtMaximumTtlSeconds > (authorities.jwt.lifeDays * day) / 3)
    return (
      `issuance.jwtMaximumTtlSeconds (${issuance.jwtMaximumTtlSeconds}) is longer than a ` +
      `third of authorities.jwt.lifeDays (${authorities.jwt.lifeDays}): lower the first or ` +
      'raise the second'
    );
  return undefined;
}

/** Lives of certificates and tokens that contradict each other. */
function ttlContradiction({ issuance }: ServerConfig): string | undefined {
  if (issuance.defaultTtlSeconds > issuance.maximumTtlSeconds)
    return (
      `issuance.defaultTtlSeconds (${issuance.defaultTtlSeconds}) is above ` +
      `issuance.maximumTtlSeconds (${issuance.maximumTtlSeconds})`
    );
  if (issuance.jwtDefaultTtlSeconds > issuance.jwtMaximumTtlSeconds)
    return (
      `issuance.jwtDefaultTtlSeconds (${issuance.jwtDefaultTtlSeconds}) is above ` +
      `issuance.jwtMaximumTtlSeconds (${issuance.jwtMaximumTtlSeconds})`
    );
  if (issuance.minimumTtlSeconds > issuance.defaultTtlSeconds)
    return (
      `issuance.minimumTtlSeconds (${issuance.minimumTtlSeconds}) is above ` +
      `issuance.defaultTtlSeconds (${issuance.defaultTtlSeconds})`
    );
  if (issuance.agentTtlSeconds > shortLivedMaximumSeconds)
    return (
      `issuance.agentTtlSeconds (${issuance.agentTtlSeconds}) is above ` +
      `${shortLivedMaximumSeconds}, the maximum of the short-lived profile`
    );
  return undefined;
}

/** Contradictions between keys. Each message names the numbers to change. */
function contradiction(config: ServerConfig): string | undefined {
  const { ops, hsm } = config;
  const outside = upstreamContradiction(config);
  if (outside !== undefined) return outside;
  const names = namesContradiction(config);
  if (names !== undefined) return names;
  const acme = acmeContradiction(config);
  if (acme !== undefined) return acme;
  const lives =
    lifeContradiction(config) ?? scheduleContradiction(config) ?? ttlContradiction(config);
  if (lives !== undefined) return lives;
  const witness = witnessContradiction(config);
  if (witness !== undefined) return witness;
  const {
    retention: { certificatesDays },
    attestation: { graceDays },
  } = config;
  if (certificatesDays !== 0 && certificatesDays <= graceDays)
    return (
      `retention.certificatesDays (${certificatesDays}) is not above attestation.graceDays ` +
      `(${graceDays}): the database would forget agents that may still come back`
    );
  if ((ops.tlsCertFile === undefined) !== (ops.tlsKeyFile === undefined))
    return 'ops.tlsCertFile and ops.tlsKeyFile must be set together';
  const issuers = tokensContradiction(config.tokens);
  if (issuers !== undefined) return issuers;
  const front = httpContradiction(config);
  if (front !== undefined) return front;
  const { pollMinimumSeconds, pollMaximumSeconds } = config.federation;
  if (pollMinimumSeconds > pollMaximumSeconds)
    return (
      `federation.pollMinimumSeconds (${pollMinimumSeconds}) is above ` +
      `federation.pollMaximumSeconds (${pollMaximumSeconds})`
    );
  const shared = sharedToken(hsm);
  if (shared !== undefined) return shared;
  if (ops.tlsCertFile === undefined && !isLoopback(ops.address))
    return (
      `ops.address ${ops.address} is not a loopback address: set ops.tlsCertFile and ` +
      'ops.tlsKeyFile, or use 127.0.0.1'
    );
  return undefined;
}

/** Where another CA certifies the mesh, the root token has no other use and may be missing. */
function namesContradiction({
  authorities: { source },
  names,
  hsm: { root },
}: ServerConfig): string | undefined {
  if (!names.enabled || source === 'hsm') return undefined;
  const { pinFile, pinEnv, pinVault } = root;
  return pinFile === undefined && pinEnv === undefined && pinVault === undefined
    ? `names.enabled needs a token for the root of names, also with authorities.source ${source}: ` +
        'set hsm.root with its PIN (hsm.root.pinFile, pinEnv or pinVault), or turn names off'
    : undefined;
}

/** Whether a root of ours is in the root token: that of the mesh, or that of names. */
export const usesRootToken = ({ authorities, names }: ServerConfig): boolean =>
  authorities.source === 'hsm' || names.enabled;

function httpContradiction({ http }: ServerConfig): string | undefined {
  if ((http.tls.certFile === undefined) !== (http.tls.keyFile === undefined))
    return 'http.tls.certFile and http.tls.keyFile must be set together';
  for (const name of ['plain', 'tls'] as const)
    for (const [index, network] of http[name].trustedProxies.entries())
      if (!IpRange.parse(network).ok)
        return (
          `http.${name}.trustedProxies.${index} (${network}) is neither an IP address nor a ` +
          'network such as 10.0.0.0/8'
        );
  return undefined;
}

/**
 * Two roles in one token. The root's token is open only while a root signs. The other two are open
 * as long as the server runs.
 */
function sharedToken(hsm: ServerConfig['hsm']): string | undefined {
  const { issuing, root, standby } = hsm;
  const isStandby = (label: string): boolean =>
    standby?.label === label &&
    (standby.module ?? hsm.module) === hsm.module &&
    (standby.softhsmConf ?? hsm.softhsmConf) === hsm.softhsmConf;
  if (isStandby(issuing.label))
    return (
      `hsm.standby is the same token as hsm.issuing (${issuing.label}): a loss of one would ` +
      'be a loss of the other'
    );
  if (root === undefined) return undefined;
  const beside =
    root.label === issuing.label
      ? 'hsm.issuing'
      : isStandby(root.label)
        ? 'hsm.standby'
        : undefined;
  return beside === undefined
    ? undefined
    : `hsm.root is the same token as ${beside} (${root.label}): that token is open as long as ` +
        'the server runs, so that whoever can sign with it could also sign with the key of the ' +
        'root; use a separate token for the root';
}

function witnessContradiction({ audit: { witnesses } }: ServerConfig): string | undefined {
  for (const [index, { url, key }] of witnesses.entries()) {
    const parsed = parseVerifierKey(key);
    if (!parsed.ok) return `audit.witnesses.${index}.key: ${parsed.error.message}`;
    if (parsed.value.type !== noteTypes.cosignature)
      return (
        `audit.witnesses.${index}.key is of type ${parsed.value.type}; a witness cosigns with ` +
        `a key of type ${noteTypes.cosignature}`
      );
    const parsedUrl = new URL(url);
    if (parsedUrl.protocol === 'http:' && !isLoopbackUrl(parsedUrl))
      return `audit.witnesses.${index}.url ${url} goes over the network in the clear: use https`;
  }
  return undefined;
}

function upstreamContradiction({
  authorities: { source, upstream },
  hsm,
}: ServerConfig): string | undefined {
  if (upstream === undefined) {
    if (source === 'upstream')
      return 'authorities.source is upstream, but authorities.upstream is not set';
    const from = (['issuing', 'root', 'standby'] as const).find(
      (role) => hsm[role]?.pinVault !== undefined,
    );
    return from === undefined
      ? undefined
      : `hsm.${from}.pinVault needs authorities.upstream, which states the address of Vault or OpenBao`;
  }
  const methods = Object.values(upstream.auth).filter((method) => method !== undefined).length;
  if (methods !== 1)
    return `authorities.upstream.auth has ${methods} methods: set exactly one of approle, token, kubernetes`;
  const address = new URL(upstream.address);
  if (address.protocol === 'http:' && !isLoopbackUrl(address))
    return `authorities.upstream.address ${upstream.address} would send credentials in the clear: use https`;
  for (const role of ['issuing', 'root', 'standby'] as const) {
    const { pinFile, pinEnv, pinVault } = hsm[role] ?? {};
    if (pinVault !== undefined && (pinFile !== undefined || pinEnv !== undefined))
      return `hsm.${role} has pinVault and another source of the PIN: keep only one`;
  }
  return undefined;
}

import { z } from 'zod';
import { fail, ok, unwrap, type Result } from '../src/common/errors/index.ts';
import { configJsonSchema, loadConfig } from '../src/common/runtime/config-loader.ts';
import { isLoopback } from '../src/common/runtime/local-host.ts';
import { parseDnsName, SpiffeId, TrustDomain } from '../src/common/spiffe/index.ts';
import { keyTypes, parseFingerprint } from '../src/common/x509/index.ts';
import { workloadAttestorSchemas, workloadAttestorTypes } from './attest/index.ts';
import { overlapOf, targetSchema } from './files/index.ts';
import {
  configuredTypes,
  nodeAttestorSchemas,
  nodeAttestorTypes,
} from './node-attestation/index.ts';
import { survivedOutageSeconds } from './schedule/index.ts';
import { vantageSchema } from './vantage/index.ts';

export const agentEnvPrefix = 'MESHCA_AGENT_';

const seconds = (description: string) =>
  z.number().int().positive().describe(`${description} (seconds)`);
const count = (description: string, maximum = 1_000_000) =>
  z.number().int().min(0).max(maximum).describe(description);
const path = (description: string) => z.string().min(1).describe(description);
const mode = (description: string) =>
  z
    .string()
    .regex(/^0?[0-7]{3}$/)
    .describe(description);

const secretName = (description: string) =>
  z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,100}$/)
    .describe(`Name of a secret: ${description}`);

/** The configuration of `meshca agent`. The environment prefix is MESHCA_AGENT_. */
export const agentConfigSchema = z.strictObject({
  trustDomain: z
    .string()
    .superRefine((text, context) => {
      const parsed = TrustDomain.parseName(text);
      if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
    })
    .describe('Name of the trust domain, for example mesh.example.org'),
  serverAddress: z
    .string()
    .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$/, 'write it as host:port')
    .describe('Address of the server, host:port'),
  dataDir: path("Directory of the agent's own key and SVID; 0700, on a local disk").default(
    '/var/lib/meshca/agent',
  ),
  bootstrap: z
    .strictObject({
      bundlePath: path(
        'Bundle that the server must prove itself under: SPIFFE bundle document, or PEM certificates of the roots',
      ).optional(),
      rootFingerprint: z
        .string()
        .regex(
          /^(sha256:)?([0-9a-fA-F]{2}:?){32}(,(sha256:)?([0-9a-fA-F]{2}:?){32}){0,15}$/,
          'write it as 64 hexadecimal digits; several with commas between them',
        )
        .optional()
        .describe(
          'SHA-256 of the root certificate (DER), where no bundle file is at hand; several with commas',
        ),
      issuerFingerprint: z
        .string()
        .regex(
          /^(sha256:)?([0-9a-fA-F]{2}:?){32}(,(sha256:)?([0-9a-fA-F]{2}:?){32}){0,15}$/,
          'write it as 64 hexadecimal digits; several with commas between them',
        )
        .optional()
        .describe(
          'SHA-256 of the public key (SubjectPublicKeyInfo, DER) of the issuing authority ' +
            'of the server, for the first contact; several with commas. Needed for a nested ' +
            'server, and where the root is no meshca root',
        ),
      insecureBootstrap: z
        .boolean()
        .default(false)
        .describe('Believe whoever answers at the first attestation. Only for trying out'),
    })
    .prefault({}),
  attestation: z
    .strictObject(nodeAttestorSchemas(nodeAttestorTypes))
    .prefault({})
    .describe('What this node proves itself with: one type of node attestation'),
  workloadAttestation: z
    .strictObject(workloadAttestorSchemas(workloadAttestorTypes))
    .prefault({})
    .describe('What is found out about workloads: types of workload attestation'),
  workloadApi: z
    .strictObject({
      socketPath: path('Socket of the SPIFFE Workload API').default(
        '/run/meshca/agent/workload.sock',
      ),
      socketMode: mode(
        'Permissions of the socket; connecting needs the write bit, and every caller is attested',
      ).default('0777'),
      connectionsPerUid: z
        .number()
        .int()
        .positive()
        .optional()
        .describe('Connections of one user at once'),
      streamsPerUid: z.number().int().positive().optional().describe('Streams of one user at once'),
    })
    .prefault({}),
  sds: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe("Serve Envoy's secret discovery (SDS v3) on the socket of the Workload API"),
      defaultSvidName: secretName('The first identity of the caller').default('default'),
      defaultBundleName: secretName('The bundle of the own trust domain').default('ROOTCA'),
      allBundlesName: secretName('The bundles of all trust domains').default('ALL'),
      spiffeValidator: z
        .boolean()
        .default(true)
        .describe(
          "Send bundles with Envoy's SPIFFE validator (envoy.tls.cert_validator.spiffe). " +
            'false: as plain trusted_ca, which holds one trust domain',
        ),
      crls: z
        .boolean()
        .default(false)
        .describe(
          'Send the CRLs beside the own roots. A proxy that has one demands one for every ' +
            'level of a chain; an incomplete set, or one about to end, is left out with an ' +
            'alert',
        ),
      crlFailClosed: z
        .boolean()
        .default(false)
        .describe(
          'Keep the last complete set instead, also when it has ended: proxies then refuse ' +
            'everybody. Without a set no bundle is sent',
        ),
    })
    .prefault({})
    .describe('What proxies get, and under which names'),
  istio: z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe("Serve Istio's CreateCertificate by TLS on a socket of its own"),
      socketPath: path("Socket for Istio's clients (CA_ADDR: unix://PATH)").default(
        '/run/meshca/agent/istio.sock',
      ),
      socketMode: mode(
        'Permissions of the socket; connecting needs the write bit, and every caller is attested',
      ).default('0777'),
      spiffeId: z
        .string()
        .superRefine((text, context) => {
          const parsed = SpiffeId.parse(text);
          if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
        })
        .optional()
        .describe(
          'The identity that the socket shows. An entry must give it, with dnsName, to the ' +
            'process of the agent; callers do not get it here',
        ),
      dnsName: z
        .string()
        .superRefine((text, context) => {
          const parsed = parseDnsName(text);
          if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
        })
        .default('unix')
        .describe(
          "The name that clients expect. With CA_ADDR=unix://… Istio's agent takes `unix` for the host",
        ),
    })
    .prefault({})
    .describe("Istio's clients on this node that are attested by the kernel, without a token"),
  targets: z
    .array(targetSchema)
    .max(256)
    .default([])
    .describe('Directories of certificates for servers that read files; see file-targets.md'),
  vantage: vantageSchema,
  localApi: z
    .strictObject({
      socketPath: path(
        'Socket for the operators of this node (meshca explain, meshca agent show)',
      ).default('/run/meshca/agent/local.sock'),
      socketMode: mode('Permissions of the socket').default('0600'),
      uids: z
        .array(z.number().int().nonnegative())
        .default([])
        .describe("User IDs beside 0 and the agent's own that may ask"),
    })
    .prefault({}),
  ops: z
    .strictObject({
      address: z
        .string()
        .min(1)
        .default('127.0.0.1')
        .describe('Address of the HTTP port for /metrics, /live, /ready; loopback'),
      port: z.number().int().min(0).max(65_535).default(9465).describe('HTTP port'),
    })
    .prefault({}),
  svid: z
    .strictObject({
      keyType: z.enum(keyTypes).default('ec-p256').describe('Key type of workload keys'),
      warm: count('Identities kept after their last user left', 100_000).default(64),
      prefetch: count('Identities obtained before anyone asks', 10_000).default(16),
      readyKeys: count('Keys made ahead', 1000).default(16),
      jwtCache: count('JWT-SVIDs kept', 100_000).default(1024),
      persistWorkloadKeys: z
        .boolean()
        .default(false)
        .describe('Keep workload keys in a directory, so that a restart of the agent finds them'),
      workloadKeysDir: path('That directory; a tmpfs').default('/run/meshca/agent/keys'),
    })
    .prefault({}),
  outage: z
    .strictObject({
      promisedSeconds: seconds(
        'Outage of the CA that must be survived for certain; a shorter life than that needs is refused',
      ).optional(),
      shortestTtlSeconds: seconds(
        'Shortest life of the SVIDs that this node gets, for that check',
      ).default(3600),
    })
    .prefault({}),
  connection: z
    .strictObject({
      timeoutMs: z
        .number()
        .int()
        .min(100)
        .max(120_000)
        .default(10_000)
        .describe('For TCP and TLS together (milliseconds)'),
      callDeadlineMs: z
        .number()
        .int()
        .min(100)
        .max(120_000)
        .default(15_000)
        .describe('For one call (milliseconds)'),
      keepaliveMs: z
        .number()
        .int()
        .min(1000)
        .max(3_600_000)
        .default(30_000)
        .describe('Between keepalive pings (milliseconds)'),
      backoffBaseMs: z
        .number()
        .int()
        .min(10)
        .max(60_000)
        .default(1000)
        .describe('First bound of the spread wait before a reconnect (milliseconds)'),
      backoffCapMs: z
        .number()
        .int()
        .min(100)
        .max(600_000)
        .default(30_000)
        .describe('Its largest bound (milliseconds)'),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error', 'fatal'])
        .default('info')
        .describe('Lowest level that is logged'),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .describe('auto: pretty on a terminal, else JSON'),
    })
    .prefault({}),
});

/** Keys that a running agent takes over at SIGHUP. */
export const reloadedAgentKeys: readonly string[] = ['log.level'];

export type AgentConfig = Readonly<z.output<typeof agentConfigSchema>>;

/**
 * File and environment → one frozen, validated record. Problems that span keys are found here too.
 */
export async function loadAgentConfig(source: {
  readonly path?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}): Promise<Result<AgentConfig>> {
  const loaded = await loadConfig(agentConfigSchema, {
    ...source,
    envPrefix: agentEnvPrefix,
    ignoreEnv: [`${agentEnvPrefix}CONFIG`],
  });
  if (!loaded.ok) return loaded;
  const problem = contradiction(loaded.value);
  return problem === undefined ? ok(loaded.value) : fail('CONFIG_INVALID', problem);
}

export const agentJsonSchema = (): object =>
  configJsonSchema(agentConfigSchema, 'meshca agent configuration');

/** Each as lower-case hex without separators. The schema has refused all else. */
export const fingerprintsHex = (text: string): readonly string[] =>
  text.split(',').map((each) => unwrap(parseFingerprint(each)));

/** What the configured lives are worth: the outage that is survived for certain. */
export const configuredOutageSeconds = (config: AgentConfig): number =>
  survivedOutageSeconds(config.outage.shortestTtlSeconds);

function contradiction(config: AgentConfig): string | undefined {
  const { bootstrap, attestation, outage, ops, connection, sds } = config;
  if (
    bootstrap.insecureBootstrap &&
    (bootstrap.bundlePath !== undefined ||
      bootstrap.rootFingerprint !== undefined ||
      bootstrap.issuerFingerprint !== undefined)
  )
    return 'bootstrap.insecureBootstrap stands beside a bundle or fingerprint: remove it, so that those count';
  const types = configuredTypes(attestation);
  if (types.length > 1) return `attestation: give one of ${types.join(', ')}`;
  const survived = configuredOutageSeconds(config);
  if (outage.promisedSeconds !== undefined && outage.promisedSeconds > survived) {
    return (
      `outage.promisedSeconds (${outage.promisedSeconds}) is more than SVIDs of ` +
      `${outage.shortestTtlSeconds} s survive for certain (${survived}): raise the lives, and ` +
      'outage.shortestTtlSeconds with them, or promise less'
    );
  }
  if (!isLoopback(ops.address))
    return (
      `ops.address ${ops.address} is not a loopback address: use 127.0.0.1 and let a proxy or ` +
      'scraper on the node reach it'
    );
  if (connection.backoffBaseMs > connection.backoffCapMs)
    return 'connection.backoffBaseMs is above connection.backoffCapMs';
  const ofSockets = socketsProblem(config) ?? targetsProblem(config);
  if (ofSockets !== undefined) return ofSockets;
  const names = [sds.defaultSvidName, sds.defaultBundleName, sds.allBundlesName];
  if (new Set(names).size < names.length)
    return 'sds.defaultSvidName, sds.defaultBundleName and sds.allBundlesName must differ';
  if (sds.crlFailClosed && !sds.crls)
    return 'sds.crlFailClosed says what becomes of CRLs: set sds.crls too, or remove it';
  return undefined;
}

function socketsProblem({
  workloadApi,
  localApi,
  istio,
  trustDomain,
}: AgentConfig): string | undefined {
  if (workloadApi.socketPath === localApi.socketPath)
    return 'workloadApi.socketPath and localApi.socketPath are the same';
  if (!istio.enabled) return undefined;
  if ([workloadApi.socketPath, localApi.socketPath].includes(istio.socketPath))
    return 'istio.socketPath is that of another socket';
  if (istio.spiffeId === undefined)
    return 'istio.enabled needs istio.spiffeId: the identity that an entry gives to the agent for this socket';
  const id = SpiffeId.of(istio.spiffeId);
  return id.trustDomain.name === trustDomain
    ? undefined
    : `istio.spiffeId ${istio.spiffeId} is not in the trust domain ${trustDomain}`;
}

/** What the agent keeps for itself. */
export const privateDirectoriesOf = ({ dataDir, svid }: AgentConfig): readonly string[] => [
  dataDir,
  svid.workloadKeysDir,
];

function targetsProblem(config: AgentConfig): string | undefined {
  const { targets, trustDomain } = config;
  for (const { name, spiffeId, federatedFiles } of targets) {
    if (spiffeId !== undefined && SpiffeId.of(spiffeId).trustDomain.name !== trustDomain)
      return `targets: spiffeId ${spiffeId} of ${name} is not in the trust domain ${trustDomain}`;
    if (trustDomain in federatedFiles)
      return `targets: federatedFiles of ${name} names the own trust domain: files.ca has its roots`;
  }
  const overlap = overlapOf(targets, privateDirectoriesOf(config));
  return overlap === undefined ? undefined : `targets: ${overlap}`;
}

import { z } from 'zod';
import { parseDnsName, TrustDomain } from '../common/spiffe/index.ts';
import { tokensSchema } from '../services/tokens/index.ts';
import { acmeSchema } from './acme-schema.ts';
import { authoritiesSchema } from './authorities-schema.ts';
import { attestationSchema, controlPlanesSchema } from './callers-schema.ts';
import { count, days, path, port, seconds } from './fields.ts';
import { federationSchema, httpSchema, opsSchema } from './http-schema.ts';
import { namesSchema } from './names-schema.ts';

const tokenKeys = (label: string, role: string) => ({
  label: z.string().min(1).max(32).default(label).describe(`Label of the ${role} token`),
  pinFile: path(`File with the PIN of the ${role} token`).optional(),
  pinEnv: z
    .string()
    .regex(/^[A-Z][A-Z0-9_]*$/)
    .optional()
    .describe(`Environment variable that holds the PIN of the ${role} token`),
  pinVault: z
    .strictObject({
      mount: z.string().min(1).default('secret').describe('KV version 2 mount'),
      path: z.string().min(1).describe('Path of the secret below the mount, without data/'),
      field: z.string().min(1).default('pin').describe('Field of the secret that is the PIN'),
    })
    .optional()
    .describe(
      `PIN of the ${role} token from Vault or OpenBao, reached as authorities.upstream says`,
    ),
});
const token = (label: string, role: string) => z.strictObject(tokenKeys(label, role)).prefault({});

/** A second token, in another slot, device or site. */
const standby = z.strictObject({
  ...tokenKeys('meshca-standby', 'standby'),
  module: path('Absolute path of its PKCS#11 module; default hsm.module').optional(),
  softhsmConf: path('Its softhsm2.conf, for SoftHSM only; default hsm.softhsmConf').optional(),
  signers: count('Signer processes; default hsm.signers', 64).optional(),
  activate: z
    .enum(['manual', 'automatic'])
    .default('manual')
    .describe(
      "Whether its authorities sign only after an operator's command, or automatically once the issuing token is lost",
    ),
  afterSeconds: seconds('For automatic: how long the issuing token must have been away').default(
    30,
  ),
});

/**
 * The configuration of `meshca server`. Every key except the trust domain has a default. The
 * environment prefix is MESHCA_SERVER_.
 */
export const serverConfigSchema = z.strictObject({
  trustDomain: z
    .string()
    .superRefine((text, context) => {
      const parsed = TrustDomain.parseName(text);
      if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
    })
    .describe('Name of the trust domain, for example mesh.example.org'),
  dataDir: path('Directory of the database and of the admin socket').default(
    '/var/lib/meshca/server',
  ),
  database: z
    .strictObject({
      path: path('SQLite file; default meshca.db in dataDir').optional(),
    })
    .prefault({}),
  hsm: z
    .strictObject({
      module: path('Absolute path of the PKCS#11 module').default(
        '/usr/lib/softhsm/libsofthsm2.so',
      ),
      softhsmConf: path('softhsm2.conf, for SoftHSM only').optional(),
      issuing: token('meshca-issuing', 'issuing'),
      root: token('meshca-root', 'root'),
      standby: standby.optional(),
      signers: count('Signer processes; default one per core', 64).optional(),
      mode: z
        .enum(['auto', 'sync', 'async'])
        .default('auto')
        .describe('How signers call the module: auto measures at start; network HSMs need async'),
      sessionsPerSigner: count('Sessions per signer process', 256).default(4),
      deadlineMs: count(
        'A signer that does not answer for this time is killed and respawned ' +
          '(milliseconds); signing must resume within 5 s of its stop, including the respawn',
        600_000,
      ).default(2_000),
    })
    .prefault({}),
  authorities: authoritiesSchema,
  names: namesSchema,
  acme: acmeSchema,
  rotation: z
    .strictObject({
      automatic: z
        .boolean()
        .default(true)
        .describe('Whether successors are prepared by schedule; otherwise only by an operator'),
      prepareAtPercent: z
        .number()
        .int()
        .min(10)
        .max(95)
        .default(66)
        .describe("Share of an authority's life after which its successor is prepared (percent)"),
      marginSeconds: seconds(
        'The last moment to replace an authority is this much earlier than the lives of its leaves require',
      ).default(3_600),
      onDeadline: z
        .enum(['alert', 'proceed'])
        .default('alert')
        .describe(
          'If consumers have not confirmed at that moment: wait and alert, or continue without them and name them',
        ),
      retireMarginSeconds: z
        .number()
        .int()
        .min(0)
        .max(86_400)
        .default(300)
        .describe(
          'An authority stays trusted this much longer than its last leaf, for slow clocks (seconds)',
        ),
      crossCertificates: z
        .boolean()
        .default(false)
        .describe(
          'Whether chains end with the cross-certificates of their root, for consumers that ' +
            'have only the previous root',
        ),
      jwksCacheSeconds: seconds(
        'The longest time that a reader caches the JWKS: a new JWT key signs no earlier',
      ).default(600),
      canaryWindowSeconds: seconds(
        'Handshakes that were reported longer ago do not count in the verdict on a canary authority',
      ).default(600),
      canaryLyingShare: z
        .number()
        .min(0)
        .max(0.49)
        .default(0.25)
        .describe('Share of the reporting nodes that may lie without changing that verdict'),
      clockToleranceSeconds: seconds(
        'A larger jump of the wall clock stops every act that rests on elapsed time',
      ).default(60),
      rebootToleranceSeconds: seconds(
        'After a start of the machine the wall clock may be so far ahead of the newest ' +
          'record of the audit log; beyond it nothing that rests on the passing of time is ' +
          'done until "meshca authority accept-clock"',
      ).default(3_600),
    })
    .prefault({}),
  issuance: z
    .strictObject({
      defaultTtlSeconds: seconds('Life of a workload SVID if its entry states none').default(3_600),
      maximumTtlSeconds: seconds('Longest life that an entry or delegation may state').default(
        86_400,
      ),
      minimumTtlSeconds: seconds('Shortest life').default(10),
      agentTtlSeconds: seconds('Life of an agent SVID').default(86_400),
      serverTtlSeconds: seconds('Life of the server certificate').max(86_400).default(86_400),
      downstreamTtlSeconds: seconds(
        'Longest life of a CA certificate that a workload of a downstream entry obtains',
      )
        .max(90 * 86_400)
        .default(7 * 86_400),
      jwtDefaultTtlSeconds: seconds('Life of a JWT-SVID if its entry states none').default(300),
      jwtMaximumTtlSeconds: seconds('Longest life of a JWT-SVID').default(3_600),
      leafBackdateSeconds: z
        .number()
        .int()
        .min(0)
        .max(60)
        .default(30)
        .describe('How far notBefore of a leaf lies in the past (seconds)'),
      jwtIssuer: z
        .string()
        .min(1)
        .optional()
        .describe('The iss claim; default the ID of the trust domain'),
      crlBaseUrl: z
        .url({ protocol: /^https?$/ })
        .optional()
        .describe(
          'Base URL of the published CRLs: <crlBaseUrl>/<authority id>.crl, and <crlBaseUrl>/<authority id>/<shard>.crl ' +
            'for the leaves of a shard; required for revocable profiles. Certificates keep the URL that they name',
        ),
      crlLifeDays: days('Life of a CRL: longer than the longest tolerated outage').default(7),
      bundleRefreshHintSeconds: seconds('spiffe_refresh_hint of the bundle').default(300),
    })
    .prefault({}),
  listen: z
    .strictObject({
      address: z
        .string()
        .min(1)
        .default('127.0.0.1')
        .describe('Address of the gRPC listener (TLS 1.3)'),
      port: port('Port of the gRPC listener').default(8443),
      dnsNames: z
        .array(
          z.string().superRefine((text, context) => {
            const parsed = parseDnsName(text);
            if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
          }),
        )
        .default(['localhost'])
        .describe('DNS names in the server certificate; reserved for the CA'),
    })
    .prefault({}),
  admin: z
    .strictObject({
      socketPath: path('Local admin socket; default admin.sock in dataDir').optional(),
      socketMode: z
        .string()
        .regex(/^0?[0-7]{3}$/)
        .default('0660')
        .describe('Permissions of the admin socket'),
      uids: z
        .array(z.number().int().nonnegative())
        .default([])
        .describe("User IDs that may administer locally, in addition to 0 and the server's own"),
    })
    .prefault({}),
  ops: opsSchema,
  http: httpSchema,
  federation: federationSchema,
  attestation: attestationSchema,
  tokens: tokensSchema,
  controlPlanes: controlPlanesSchema,
  audit: z
    .strictObject({
      checkpointFile: path(
        'File to which each checkpoint of the audit log is appended; default ' +
          'checkpoints.log in dataDir. Put it on another disk or machine than the database if ' +
          'possible',
      ).optional(),
      witnesses: z
        .array(
          z.strictObject({
            url: z
              .url({ protocol: /^https?$/ })
              .describe('Submission prefix of a witness (C2SP tlog-witness)'),
            key: z
              .string()
              .max(1024)
              .describe('Its verifier key (name+hash+base64 of a cosignature/v1 key)'),
          }),
        )
        .max(8)
        .default([])
        .describe(
          'Witnesses that cosign checkpoints of the audit log; a witness that does not answer delays nothing',
        ),
    })
    .prefault({}),
  retention: z
    .strictObject({
      certificatesDays: z
        .number()
        .int()
        .min(0)
        .max(36_500)
        .default(90)
        .describe(
          'Certificates and JWT-SVIDs are removed from the database this long after their ' +
            'expiry; their records in the audit log stay. 0: never (days)',
        ),
    })
    .prefault({}),
  limits: z
    .strictObject({
      connections: count('Maximum number of connections').default(20_000),
      handshakes: count('Maximum number of concurrent TLS handshakes').default(500),
      handshakeSeconds: seconds('A handshake that takes longer is ended').default(10),
      streamsPerConnection: count('Concurrent calls on one connection', 10_000).default(64),
      concurrentCalls: count('Concurrent unary calls over all connections').default(2_000),
      messageBytes: count('Largest message', 64 * 1024 * 1024).default(4 * 1024 * 1024),
      unarySeconds: seconds('A unary call is ended after this time').default(30),
      signsPerSecond: count('Certificates and tokens per second for one caller').default(1_000),
      signsBurst: count('Burst of the same').default(5_000),
      downstreamPerMinute: count(
        'CA certificates per minute for all workloads of downstream entries together: each opens the root token',
        6_000,
      ).default(12),
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

export type ServerConfig = Readonly<z.output<typeof serverConfigSchema>>;

/** Keys that a running server takes over at SIGHUP. */
export const reloadedServerKeys: readonly string[] = ['log.level'];
/** Keys whose files or secrets a running server reads again at SIGHUP. */
export const rereadServerKeys: readonly string[] = [
  'authorities.upstream.caFile',
  'hsm.issuing.pinFile',
  'hsm.issuing.pinVault',
  'hsm.standby.pinFile',
  'hsm.standby.pinVault',
  'federation.web.certFile',
  'federation.web.keyFile',
  'http.tls.certFile',
  'http.tls.keyFile',
  'ops.tlsCertFile',
  'ops.tlsKeyFile',
];

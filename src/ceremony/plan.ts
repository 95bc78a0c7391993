import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { fail, ok, type Result } from '../common/errors/index.ts';
import { loadConfig } from '../common/runtime/config-loader.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import { keyTypes } from '../common/x509/key-type.ts';

const path = (description: string) => z.string().min(1).describe(description);
const days = (description: string) =>
  z.number().int().positive().max(36_500).describe(`${description} (days)`);
const sha256 = (description: string) =>
  z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'is not a SHA-256 in lower-case hex')
    .describe(description);
const url = z
  .url({ protocol: /^https?$/ })
  .describe('Where the issuer publishes its CRL')
  .optional();

/** A plan: one ceremony, one certificate or CRL. Paths are relative to the folder of the plan. */
const planSchema = z.strictObject({
  version: z.literal(1).describe('Version of this format'),
  trustDomain: z
    .string()
    .superRefine((text, context) => {
      const parsed = TrustDomain.parse(text);
      if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
    })
    .describe('Name of the trust domain'),
  note: z.string().max(1000).optional().describe('Who, where, why: goes into the transcript'),
  token: z.strictObject({
    module: path('Absolute path of the PKCS#11 module').default('/usr/lib/softhsm/libsofthsm2.so'),
    softhsmConf: path('softhsm2.conf, for SoftHSM only').optional(),
    label: z.string().min(1).max(32).describe('Label of the token'),
    pinFile: path('File with its PIN').optional(),
    pinEnv: z
      .string()
      .regex(/^[A-Z][A-Z0-9_]*$/)
      .optional()
      .describe('Environment variable with its PIN'),
  }),
  clockSkewSeconds: z
    .number()
    .int()
    .min(0)
    .max(86_400)
    .default(300)
    .describe('How far in the past the certificate begins (seconds)'),
  transcript: path('New file for the transcript'),
  root: z
    .strictObject({
      keyType: z.enum(keyTypes).default('ec-p384').describe('Key type of the root'),
      lifeDays: days('Life of the root').default(3_650),
      out: path('New file for the certificate (PEM)'),
    })
    .optional(),
  intermediate: z
    .strictObject({
      issuer: path('Certificate of the root that signs (PEM)'),
      csr: path('The CSR that the server made (PEM)'),
      csrSha256: sha256(
        'SHA-256 of the CSR in DER, as the server reported it: compare it over a second channel',
      ),
      for: z
        .enum(['server', 'downstream'])
        .default('server')
        .describe(
          'server: the server of this trust domain, which agents recognise by its mark; ' +
            'downstream: any other CA in it, without the mark',
        ),
      lifeDays: days('Life of the intermediate').default(365),
      crlUrl: url,
      out: path('New file for the certificate and the root (PEM)'),
    })
    .optional(),
  crossCertificate: z
    .strictObject({
      issuer: path('Certificate of the root that signs (PEM)'),
      subject: path('Certificate of the root that is certified (PEM)'),
      subjectSha256: sha256('SHA-256 of that certificate in DER'),
      lifeDays: days('Life of the cross-certificate').default(365),
      crlUrl: url,
      out: path('New file for the certificate (PEM)'),
    })
    .optional(),
  crl: z
    .strictObject({
      issuer: path('Certificate of the root that signs (PEM)'),
      number: z
        .number()
        .int()
        .positive()
        .describe('Number of the CRL: higher than that of the previous one'),
      lifeDays: days('Until nextUpdate').default(30),
      revoked: z
        .array(
          z.strictObject({
            serial: z
              .string()
              .regex(/^([0-9a-f]{2}){1,20}$/, 'is not a serial in lower-case hex')
              .describe('Serial number'),
            revokedAt: z.iso.datetime().describe('When, for example 2026-05-01T00:00:00Z'),
            reason: z
              .enum([
                'keyCompromise',
                'cACompromise',
                'affiliationChanged',
                'superseded',
                'cessationOfOperation',
                'privilegeWithdrawn',
              ])
              .optional()
              .describe('Reason (RFC 5280 section 5.3.1)'),
          }),
        )
        .default([])
        .describe('All certificates of this issuer that are revoked'),
      out: path('New file for the CRL (PEM)'),
    })
    .optional(),
});

export type Plan = Readonly<z.output<typeof planSchema>>;
const ceremonyKinds = ['root', 'intermediate', 'crossCertificate', 'crl'] as const;
export type CeremonyKind = (typeof ceremonyKinds)[number];

export interface LoadedPlan {
  readonly plan: Plan;
  readonly kind: CeremonyKind;
  /** SHA-256 of the bytes of the file. */
  readonly sha256: string;
  /** Resolves a path of the plan. */
  readonly file: (relative: string) => string;
}

/** Reads a plan. An unknown key is refused, with the nearest known key. Fails with PLAN_INVALID. */
export async function loadPlan(planPath: string): Promise<Result<LoadedPlan>> {
  const before = readBytes(planPath);
  if (!before.ok) return before;
  const loaded = await loadConfig(planSchema, {
    path: planPath,
    env: {},
    envPrefix: 'MESHCA_CEREMONY_',
  });
  if (!loaded.ok) return fail('PLAN_INVALID', loaded.error.message);
  const after = readBytes(planPath);
  if (!after.ok || !after.value.equals(before.value))
    return fail('PLAN_INVALID', `${planPath} changed while it was read`);
  const plan = loaded.value;
  const kinds = ceremonyKinds.filter((kind) => plan[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length !== 1)
    return fail(
      'PLAN_INVALID',
      `${planPath}: the plan must have exactly one of ${ceremonyKinds.join(', ')}, not ` +
        `${kinds.length === 0 ? 'none' : kinds.join(' and ')}`,
    );
  if (plan.token.pinFile !== undefined && plan.token.pinEnv !== undefined)
    return fail('PLAN_INVALID', `${planPath}: token.pinFile and token.pinEnv exclude each other`);
  return ok({
    plan,
    kind,
    sha256: sha256Hex(before.value),
    file: (relative) => resolve(dirname(planPath), relative),
  });
}

function readBytes(planPath: string): Result<Buffer> {
  try {
    return ok(readFileSync(planPath));
  } catch (thrown) {
    return fail(
      'PLAN_INVALID',
      `${planPath} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
    );
  }
}

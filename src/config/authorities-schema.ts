import { z } from 'zod';
import { days, keyType, path, seconds } from './fields.ts';

const authority = (defaults: { keyType: 'ec-p256' | 'ec-p384'; lifeDays: number }, name: string) =>
  z
    .strictObject({
      keyType: keyType(`Key type of ${name}`).default(defaults.keyType),
      lifeDays: days(`Life of ${name}`).default(defaults.lifeDays),
    })
    .prefault({});

const upstream = z.strictObject({
  address: z
    .url({ protocol: /^https?$/ })
    .describe('Address of Vault or OpenBao; http only on loopback'),
  namespace: z.string().min(1).optional().describe('Namespace in Vault or OpenBao'),
  caFile: path(
    'PEM file with the CAs of its TLS certificate; default those of the system',
  ).optional(),
  mount: z
    .string()
    .min(1)
    .default('pki')
    .describe('Mount of the PKI engine that signs our intermediates'),
  issuerRef: z
    .string()
    .min(1)
    .optional()
    .describe('Issuer in that mount; default its default issuer'),
  ttlDays: days('Requested life; default authorities.issuing.lifeDays').optional(),
  rootSha256: z
    .array(z.string().regex(/^[0-9a-f]{64}$/))
    .default([])
    .describe('SHA-256 of the roots that its chains may end in; empty: any'),
  timeoutSeconds: seconds('A request that takes longer is abandoned').default(10),
  crlRefreshSeconds: seconds('How often the CRLs of its issuers are fetched').default(600),
  auth: z
    .strictObject({
      approle: z
        .strictObject({
          mount: z.string().min(1).default('approle').describe('Mount of the auth method'),
          roleId: z.string().min(1).describe('Role ID'),
          secretIdFile: path('File with the secret ID'),
        })
        .optional(),
      token: z.strictObject({ file: path('File with the token') }).optional(),
      kubernetes: z
        .strictObject({
          mount: z.string().min(1).default('kubernetes').describe('Mount of the auth method'),
          role: z.string().min(1).describe('Role in the auth method'),
          jwtFile: path('File with the service account token').default(
            '/var/run/secrets/kubernetes.io/serviceaccount/token',
          ),
        })
        .optional(),
    })
    .describe('Exactly one of approle, token, kubernetes'),
});

/** What certifies our authorities, and how long they live. */
export const authoritiesSchema = z
  .strictObject({
    source: z
      .enum(['hsm', 'external', 'upstream'])
      .default('hsm')
      .describe(
        'What certifies issuing intermediates: a root in our token, another CA by CSR and ' +
          'import (offline root, company CA), or Vault or OpenBao',
      ),
    upstream: upstream.optional(),
    replica: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/)
      .optional()
      .describe('Name of this replica, for issuing authorities of one replica'),
    region: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/)
      .optional()
      .describe('Region of this server, for issuing authorities of one region'),
    root: authority({ keyType: 'ec-p384', lifeDays: 3_650 }, 'roots'),
    issuing: authority({ keyType: 'ec-p256', lifeDays: 365 }, 'issuing intermediates'),
    jwt: authority({ keyType: 'ec-p256', lifeDays: 365 }, 'JWT authorities'),
    namesRoot: authority({ keyType: 'ec-p384', lifeDays: 3_650 }, 'roots of names'),
    namesIssuing: authority(
      { keyType: 'ec-p256', lifeDays: 365 },
      'issuing intermediates of names',
    ),
    clockSkewSeconds: seconds(
      'Allowed clock difference in the mesh: the notBefore of authorities lies this far in the past',
    ).default(300),
  })
  .prefault({});

import { createHash } from 'node:crypto';
import { form } from '../logged-form.ts';
import type { Tenant } from '../tenant.ts';
import type { AcmeAccount, EabKey } from './account.ts';
import type { AcmeOrder } from './order.ts';

/** The fields of an EAB key before `source` was added. */
const firstEabKeyFields = [
  'id',
  'tenant',
  'description',
  'dnsPatterns',
  'ipRanges',
  'wildcards',
  'profiles',
  'ttlSeconds',
  'keyTypes',
  'proof',
  'challengeTypes',
  'accounts',
  'accountId',
  'quotaCertificates',
  'quotaSeconds',
  'expiresAt',
  'revokedAt',
  'version',
  'createdAt',
  'createdBy',
] as const;

/** See `logged-values.ts`: an order or encoding never changes. */
export const acmeForms = {
  tenant: form<Tenant>()({
    id: ({ name }) => name,
    digested: [
      'name',
      'description',
      'dnsSuffixes',
      'spiffePrefixes',
      'quotaCertificates',
      'quotaSeconds',
      'state',
      'version',
      'createdAt',
      'updatedAt',
      'createdBy',
    ],
    undigested: {},
  }),
  'eab-key': form<EabKey>()({
    id: ({ id }) => id,
    digested: [...firstEabKeyFields, 'source'],
    undigested: {},
    earlier: [{ digested: firstEabKeyFields, vouched: (key) => ({ ...key, source: null }) }],
  }),
  'acme-account': form<AcmeAccount>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'algorithm',
      'jwk',
      'thumbprint',
      'contacts',
      'status',
      'eabKeyId',
      'tenant',
      'version',
      'createdAt',
      'updatedAt',
    ],
    undigested: {},
  }),
  'acme-order': form<AcmeOrder>()({
    id: ({ id }) => id,
    digested: [
      'id',
      'accountId',
      'eabKeyId',
      'tenant',
      'authorizations',
      'profile',
      'replaces',
      'stage',
      'csrDer',
      'serial',
      'problem',
      'expiresAt',
      'createdAt',
      'version',
    ],
    undigested: {},
    encode: {
      csrDer: (csr) => (csr === null ? null : createHash('sha256').update(csr).digest('hex')),
    },
  }),
} as const;

import { randomBytes } from 'node:crypto';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import type {
  AcmeAccount,
  AcmeOrder,
  Authorization,
  EabKey,
  Rights,
  Tenant,
} from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { AcmeWrite } from '../../../src/store/ports/index.ts';
import { event, start } from './fixtures.ts';

let made = 0;
/** Each greater than the one before, so that lists are in the order of creation. */
const risingId = (): string => uuidv7(start * 1000 + ++made);

export const tenant = (changes: Partial<Tenant> = {}): Tenant => ({
  name: 'shop',
  description: 'the shop',
  dnsSuffixes: ['shop.example.org'],
  spiffePrefixes: ['spiffe://example.org/shop/'],
  quotaCertificates: 0,
  quotaSeconds: 0,
  state: 'active',
  version: 1,
  createdAt: start,
  updatedAt: start,
  createdBy: 'uid:0',
  ...changes,
});

export const eabKey = (changes: Partial<EabKey> = {}): EabKey => ({
  id: risingId(),
  tenant: 'shop',
  description: 'gateways',
  dnsPatterns: ['*.shop.example.org'],
  ipRanges: ['192.0.2.0/24'],
  wildcards: true,
  profiles: ['classic', 'short'],
  ttlSeconds: 0,
  keyTypes: ['ec-p256'],
  proof: 'challenge',
  challengeTypes: ['http-01', 'dns-01'],
  accounts: 'many',
  accountId: null,
  quotaCertificates: 10,
  quotaSeconds: 3600,
  expiresAt: 0,
  revokedAt: null,
  version: 1,
  createdAt: start,
  createdBy: 'uid:0',
  source: null,
  ...changes,
});

export const account = (changes: Partial<AcmeAccount> = {}): AcmeAccount => ({
  id: risingId(),
  algorithm: 'ES256',
  jwk: { crv: 'P-256', kty: 'EC', x: 'x', y: 'y' },
  thumbprint: randomBytes(32).toString('base64url'),
  contacts: ['mailto:ops@example.org'],
  status: 'valid',
  eabKeyId: 'key',
  tenant: 'shop',
  version: 1,
  createdAt: start,
  updatedAt: start,
  ...changes,
});

export const authorization = (changes: Partial<Authorization> = {}): Authorization => ({
  identifier: { type: 'dns', value: 'www.shop.example.org' },
  wildcard: false,
  status: 'pending',
  shownBy: 'challenge',
  expiresAt: start + 3600,
  token: 'token',
  challenges: [{ type: 'http-01', status: 'pending', validatedAt: null, problem: null }],
  ...changes,
});

export const order = (changes: Partial<AcmeOrder> = {}): AcmeOrder => ({
  id: risingId(),
  accountId: 'account',
  eabKeyId: 'key',
  tenant: 'shop',
  authorizations: [authorization()],
  profile: 'classic',
  replaces: null,
  stage: 'open',
  csrDer: null,
  serial: null,
  problem: null,
  expiresAt: start + 3600,
  createdAt: start,
  version: 1,
  ...changes,
});

/** The order as it is changed next. */
export const next = (before: AcmeOrder, changes: Partial<AcmeOrder>): AcmeOrder => ({
  ...before,
  ...changes,
  version: before.version + 1,
});

export const write = (
  kind: string,
  rights: Rights = [],
  more: Partial<AcmeWrite> = {},
): AcmeWrite => ({ rights, event: event(kind), ...more });

export const nonce = (changes: Partial<NonNullable<AcmeWrite['nonce']>> = {}) => ({
  id: randomBytes(18).toString('base64url'),
  expiresAt: start + 3600,
  ...changes,
});

/** A tenant, a key, an account and an order that is finalizing, and the rights on them. */
export async function acmeWorld(store: Ledger) {
  const { acme, tenants } = store;
  const shop = tenant();
  await tenants.create(shop, event('tenant.created'));
  const key = eabKey({ expiresAt: start + 1000 });
  await acme.eabKeys.create(key, write('eab-key.created'));
  const of = account({ eabKeyId: key.id });
  await acme.accounts.create(of, write('acme.account.created'));
  const ready = order({
    accountId: of.id,
    eabKeyId: key.id,
    authorizations: [authorization({ status: 'valid', expiresAt: start + 60 })],
  });
  await acme.orders.create(ready, write('acme.order.created'));
  const finalizing = next(ready, { stage: 'finalizing', csrDer: Buffer.from('csr') });
  await acme.orders.update(finalizing, write('acme.order.changed'));
  return {
    tenant: shop,
    key,
    account: of,
    order: finalizing,
    rights: {
      tenant: { kind: 'tenant', name: shop.name },
      key: { kind: 'eab-key', id: key.id },
      account: { kind: 'acme-account', id: of.id },
      order: { kind: 'acme-order', id: finalizing.id, version: finalizing.version },
    },
  } as const;
}

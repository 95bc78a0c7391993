import { randomBytes } from 'node:crypto';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import type {
  AcmeAccount,
  AcmeOrder,
  Delegation,
  EabKey,
  Rights,
  Tenant,
} from '../../src/domain/index.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import type { AcmeWrite } from '../../src/store/ports/index.ts';

/** An account of ACME, with what it stands on. */
interface Holder {
  readonly key: EabKey;
  readonly account: AcmeAccount;
}

export interface AcmeVictims {
  readonly healthy: Holder;
  /** Its EAB key was revoked. */
  readonly keyless: Holder;
  /** The delegation for which its EAB key was exchanged was revoked. */
  readonly orphaned: Holder;
  /** Another such key, whose delegation stands. */
  readonly exchanged: Holder;
  readonly deactivated: Holder;
  /** Its tenant ended. */
  readonly former: Holder;
  /** Bound a key that is for one account. */
  readonly alone: Holder;
  readonly finalizing: AcmeOrder;
  /** One of its authorizations was deactivated. */
  readonly deauthorized: AcmeOrder;
  readonly failed: AcmeOrder;
}

/** An SVID that is valid, and whose holder has exchanged it. */
export interface SvidVictim {
  readonly spiffeId: string;
  readonly serial: string;
}

const now = (): number => Math.floor(Date.now() / 1000);
const longSeconds = 86_400;

const written = (kind: string, subject: string, rights: Rights = []): AcmeWrite => ({
  rights,
  event: { timeMs: Date.now(), actor: 'acme:drill', kind, subject, detail: {} },
});

const orderOf = ({ key, account }: Holder, changes: Partial<AcmeOrder> = {}): AcmeOrder => ({
  ...{ id: uuidv7(), accountId: account.id, eabKeyId: key.id, tenant: key.tenant },
  authorizations: [
    {
      identifier: { type: 'dns', value: `www.${key.tenant}.example.org` },
      ...{ wildcard: false, status: 'valid', shownBy: 'owner', token: '', challenges: [] },
      expiresAt: now() + longSeconds,
    },
  ],
  ...{ profile: 'short', replaces: null, stage: 'open', csrDer: null, serial: null },
  ...{ problem: null, expiresAt: now() + longSeconds, createdAt: now(), version: 1 },
  ...changes,
});

const accountOf = (key: EabKey): AcmeAccount => ({
  ...{ id: uuidv7(), algorithm: 'ES256', jwk: { crv: 'P-256', kty: 'EC', x: 'x', y: 'y' } },
  thumbprint: randomBytes(32).toString('base64url'),
  ...{ contacts: ['mailto:ops@example.org'], status: 'valid', eabKeyId: key.id },
  ...{ tenant: key.tenant, version: 1, createdAt: now(), updatedAt: now() },
});

const keyOf = (tenant: string, changes: Partial<EabKey> = {}): EabKey => ({
  ...{ id: uuidv7(), tenant, description: 'drill' },
  ...{ dnsPatterns: [`*.${tenant}.example.org`], ipRanges: [], wildcards: false },
  ...{ profiles: ['short'], ttlSeconds: 0, keyTypes: ['ec-p256'], proof: 'owner' },
  ...{ challengeTypes: [], accounts: 'many', accountId: null },
  ...{ quotaCertificates: 0, quotaSeconds: 0, expiresAt: 0, revokedAt: null },
  ...{ version: 1, createdAt: now(), createdBy: 'uid:0', source: null },
  ...changes,
});

async function createHolder({ acme }: Ledger, key: EabKey): Promise<Holder> {
  await acme.eabKeys.create(key, written('eab-key.created', key.id));
  const account = accountOf(key);
  await acme.accounts.create(account, written('acme.account.created', account.id));
  return { key, account };
}

/** An order in the state that the last changes make. */
async function createOrder(
  { acme }: Ledger,
  holder: Holder,
  ...steps: readonly Partial<AcmeOrder>[]
): Promise<AcmeOrder> {
  let order = orderOf(holder, steps[0]);
  await acme.orders.create(order, written('acme.order.created', order.id));
  for (const step of steps.slice(1)) order = await changeOrder(acme, order, step);
  return order;
}

async function changeOrder(
  { orders }: Pick<Ledger['acme'], 'orders'>,
  before: AcmeOrder,
  changes: Partial<AcmeOrder>,
): Promise<AcmeOrder> {
  const after = { ...before, ...changes, version: before.version + 1 };
  await orders.update(after, written('acme.order.changed', after.id));
  return after;
}

/** What a key was exchanged for: the SVID with this serial, by a delegation of its own. */
async function delegatedSource(
  { delegations }: Ledger,
  { spiffeId, serial }: SvidVictim,
): Promise<EabKey['source']> {
  const delegation: Delegation = {
    ...{ id: uuidv7(), clientId: spiffeId, patterns: [], maxTtlSeconds: 3600, ipRanges: [] },
    ...{ keyTypes: ['ec-p256'], dnsPatterns: ['*.shop.example.org'], wildcards: false },
    ...{ profile: 'short', expiresAt: 0, revokedAt: null, createdAt: now(), createdBy: 'uid:0' },
  };
  await delegations.create(delegation, written('delegation.created', delegation.id).event);
  return { by: 'svid', spiffeId, delegationId: delegation.id, serial, agent: null };
}

async function createTenants({ tenants }: Ledger, ...names: readonly string[]): Promise<void> {
  for (const name of names)
    await tenants.create(
      {
        ...{ name, description: 'drill', dnsSuffixes: [`${name}.example.org`] },
        ...{ spiffePrefixes: [], quotaCertificates: 0, quotaSeconds: 0, state: 'active' },
        ...{ version: 1, createdAt: now(), updatedAt: now(), createdBy: 'uid:0' },
      },
      written('tenant.created', name).event,
    );
}

/** Tenants, and a row of every kind of ACME: healthy ones, and after the step ended ones. */
export async function acmeVictims(
  store: Ledger,
  svid: SvidVictim,
  step: () => void,
): Promise<AcmeVictims> {
  const { acme } = store;
  await createTenants(store, 'shop', 'bank');
  const holder = (tenant: string, changes: Partial<EabKey> = {}) =>
    createHolder(store, keyOf(tenant, changes));
  const healthy = await holder('shop');
  const keyless = await holder('shop');
  const orphaned = await holder('shop', { source: await delegatedSource(store, svid) });
  const exchanged = await holder('shop', { source: await delegatedSource(store, svid) });
  const deactivated = await holder('shop');
  const former = await holder('bank');
  const alone = await holder('shop', { accounts: 'single' });
  const finalized = { stage: 'finalizing', csrDer: randomBytes(64) } as const;
  const finalizing = await createOrder(store, healthy, {}, finalized);
  const ready = await createOrder(store, healthy, {}, finalized);
  const replaces = randomBytes(16).toString('hex');
  const open = await createOrder(store, healthy, { replaces });
  const expiresAt = now() + longSeconds;
  await acme.useNonce({ id: randomBytes(18).toString('base64url'), expiresAt });
  step();
  const deauthorized = await changeOrder(acme, ready, {
    authorizations: ready.authorizations.map((each) => ({ ...each, status: 'deactivated' })),
  });
  const problem = { type: 'dns', detail: 'drill' };
  const failed = await changeOrder(acme, open, { stage: 'failed', problem });
  await endRights(store, { keyless, orphaned, deactivated, former });
  const exchanges = { exchanged, orphaned };
  const ended = { keyless, deactivated, former, deauthorized, failed };
  return { healthy, alone, finalizing, ...exchanges, ...ended };
}

async function endRights(
  { acme, tenants, delegations }: Ledger,
  {
    keyless,
    orphaned,
    deactivated,
    former,
  }: Pick<AcmeVictims, 'keyless' | 'orphaned' | 'deactivated' | 'former'>,
): Promise<void> {
  await acme.eabKeys.update(
    { ...keyless.key, revokedAt: now(), version: 2 },
    written('eab-key.revoked', keyless.key.id),
  );
  const { delegationId = '' } = orphaned.key.source ?? {};
  await delegations.revoke(delegationId, now(), written('delegation.revoked', delegationId).event);
  await acme.accounts.update(
    { ...deactivated.account, status: 'deactivated', version: 2 },
    written('acme.account.ended', deactivated.account.id),
  );
  const name = former.key.tenant;
  const tenant: Tenant | undefined = await tenants.byName(name);
  if (tenant === undefined) throw new Error(`there is no tenant ${name}`);
  await tenants.update(
    { ...tenant, state: 'ended', version: 2 },
    written('tenant.ended', name).event,
  );
}

/** What ACME grants, as its services ask for it. */
export class AcmeCaller {
  readonly #store: Ledger;

  constructor(store: Ledger) {
    this.#store = store;
  }

  /** Makes an order. */
  async order(holder: Holder, rights: Rights = []): Promise<string> {
    const { key, account } = holder;
    const order = orderOf(holder);
    await this.#store.acme.orders.create(
      order,
      written('acme.order.created', order.id, [
        ...rights,
        { kind: 'tenant', name: key.tenant },
        { kind: 'eab-key', id: key.id },
        { kind: 'acme-account', id: account.id },
      ]),
    );
    return order.profile;
  }

  /** What a key allows now, and who has bound it. */
  async key({ key }: Holder): Promise<string> {
    const present = await this.#store.acme.eabKeys.byId(key.id);
    if (present === undefined) throw new Error('the key is gone');
    if (present.revokedAt !== null) throw new Error('the key was revoked');
    return JSON.stringify(present);
  }

  /** The key with which requests of an account are verified. */
  async account({ account }: Holder): Promise<string> {
    const present = await this.#store.acme.accounts.byThumbprint(account.thumbprint);
    if (present?.status !== 'valid') throw new Error(`the account is ${present?.status ?? 'gone'}`);
    return JSON.stringify(present);
  }

  /** Another account with the same key. */
  async bind({ key }: Holder): Promise<string> {
    const account = accountOf(key);
    await this.#store.acme.accounts.create(
      account,
      written('acme.account.created', account.id, [{ kind: 'eab-key', id: key.id }]),
    );
    return 'an account';
  }

  /** Whether a certificate of this order may be issued. */
  issue({ id, version }: AcmeOrder, holder: Holder): Promise<string> {
    return this.order(holder, [{ kind: 'acme-order', id, version }]);
  }

  /** The CSR from which an order is issued. */
  async csr({ id }: AcmeOrder): Promise<string> {
    const present = await this.#store.acme.orders.byId(id);
    if (present?.stage !== 'finalizing')
      throw new Error(`the order is ${present?.stage ?? 'gone'}`);
    return JSON.stringify(present);
  }

  /** Which names are whose. */
  async tenants(): Promise<string> {
    return JSON.stringify((await this.#store.tenants.owners()).all());
  }
}

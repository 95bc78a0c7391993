import type { Clock } from '../../common/runtime/index.ts';
import type { AcmeAccount, EabKey, Tenant } from '../../domain/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LedgerAcme } from '../../ledger/index.ts';
import type {
  CertificateStore,
  DelegationStore,
  EntryStore,
  RoleStore,
} from '../../store/ports/index.ts';
import { alteredHoldings, type AlteredHoldingsDependencies } from './altered-holdings.ts';
import type { TenantDeletion, TenantEnd, TenantReport } from './tenants.ts';

export interface HoldingsDependencies extends AlteredHoldingsDependencies {
  readonly entries: Pick<EntryStore, 'list'>;
  readonly certificates: Pick<CertificateStore, 'countLive' | 'lastNotAfter'>;
  readonly acme: Pick<LedgerAcme, 'eabKeys' | 'accounts' | 'orders'>;
  readonly delegations: Pick<DelegationStore, 'list'>;
  readonly roles: Pick<RoleStore, 'list'>;
  readonly clock: Clock;
}

const sampleSize = 20;
const maximumShown = 200;

/** What a tenant has: entries, certificates, EAB keys and accounts. */
export class TenantHoldings {
  readonly #dependencies: HoldingsDependencies;

  constructor(dependencies: HoldingsDependencies) {
    this.#dependencies = dependencies;
  }

  async of(tenant: Tenant): Promise<Omit<TenantReport, 'view'>> {
    const { certificates, clock } = this.#dependencies;
    const filter = { owned: tenant };
    const now = clock.now();
    return {
      ...(await this.#entries(tenant)),
      liveCertificates: await certificates.countLive(filter, now),
      lastNotAfter: await certificates.lastNotAfter(filter, now),
      ...(await this.#eabKeys(tenant.name)),
      ...(await this.#accounts(tenant.name)),
    };
  }

  /** What the end of a tenant hits. */
  async affected(tenant: Tenant): Promise<Omit<TenantEnd, 'tenant'>> {
    const { acme, certificates, clock, delegations, roles } = this.#dependencies;
    const { name, spiffePrefixes } = tenant;
    const now = clock.now();
    const isOwn = (id: string): boolean => spiffePrefixes.some((prefix) => id.startsWith(prefix));
    const active = { includeRevoked: false };
    const orders = (stage: 'open' | 'finalizing'): Promise<number> =>
      count(pagesOf((page) => acme.orders.list({ tenant: name, stage }, page)));
    return {
      entries: (await this.#entries(tenant)).entries,
      delegations: await count(
        pagesOf((page) => delegations.list(active, page)),
        ({ clientId, expiresAt }) => isOwn(clientId) && (expiresAt === 0 || expiresAt > now),
      ),
      eabKeys: await count(this.#activeKeys(name)),
      accounts: await count(this.#validAccounts(name)),
      orders: (await orders('open')) + (await orders('finalizing')),
      certificates: await certificates.countLive({ owned: tenant }, now),
      endpoints: await certificates.countLive({ owned: tenant, kind: 'endpoint' }, now),
      roles: await count(
        pagesOf((page) => roles.list(page)),
        ({ prefixes }) => prefixes.includes(`tenant:${name}`),
      ),
      altered: await alteredHoldings(this.#dependencies, name),
    };
  }

  /**
   * Ends the EAB keys and accounts of a tenant for ever. Where a row is missing or altered, the log
   * says whose it is, and it is recorded as deleted.
   */
  async endFor({ name }: Tenant, actor: string): Promise<TenantDeletion> {
    const { acme, clock } = this.#dependencies;
    const event = (
      kind: string,
      subject: string,
      more: Readonly<Record<string, boolean>> = {},
    ) => ({
      ...{ actor, timeMs: clock.nowMs(), kind, subject },
      detail: { tenant: name, reason: 'the tenant was deleted', ...more },
    });
    const altered = await alteredHoldings(this.#dependencies, name);
    const ended = { eabKeys: 0, accounts: 0 };
    for (const { kind, id } of altered) {
      const what = kind === 'eab-key' ? 'eabKeys' : 'accounts';
      const act = kind === 'eab-key' ? 'eab-key.revoked' : 'acme.account.ended';
      await acme[what].forget(id, event(act, id, { altered: true }));
      ended[what] += 1;
    }
    for await (const keys of this.#activeKeys(name))
      for (const key of keys) {
        const revoked = { ...key, revokedAt: clock.now(), version: key.version + 1 };
        await acme.eabKeys.update(revoked, { rights: [], event: event('eab-key.revoked', key.id) });
        ended.eabKeys += 1;
      }
    for await (const accounts of this.#validAccounts(name))
      for (const account of accounts) {
        const { id, version } = account;
        const changed = {
          status: 'revoked',
          version: version + 1,
          updatedAt: clock.now(),
        } as const;
        const write = { rights: [], event: event('acme.account.ended', id) };
        await acme.accounts.update({ ...account, ...changed }, write);
        ended.accounts += 1;
      }
    return { ...ended, altered };
  }

  #activeKeys(tenant: string): AsyncIterable<readonly EabKey[]> {
    const { acme, clock } = this.#dependencies;
    const filter = { tenant, includeEnded: false, now: clock.now() };
    return pagesOf((page) => acme.eabKeys.list(filter, page));
  }

  #validAccounts(tenant: string): AsyncIterable<readonly AcmeAccount[]> {
    const { accounts } = this.#dependencies.acme;
    return pagesOf((page) => accounts.list({ tenant, status: 'valid' }, page));
  }

  async #entries({ spiffePrefixes }: Tenant): Promise<Pick<TenantReport, 'entries' | 'sample'>> {
    const sample: { id: string; spiffeId: string }[] = [];
    let entries = 0;
    for (const spiffeIdPrefix of spiffePrefixes)
      for await (const page of pagesOf((request) =>
        this.#dependencies.entries.list({ spiffeIdPrefix }, request),
      )) {
        entries += page.length;
        for (const { id, spiffeId } of page.slice(0, sampleSize - sample.length))
          sample.push({ id, spiffeId });
      }
    return { entries, sample };
  }

  async #eabKeys(tenant: string): Promise<Pick<TenantReport, 'eabKeys' | 'moreEabKeys'>> {
    const { acme, clock } = this.#dependencies;
    const filter = { tenant, includeEnded: true, now: clock.now() };
    const { listed, more } = await firstOf(pagesOf((page) => acme.eabKeys.list(filter, page)));
    return { eabKeys: listed, moreEabKeys: more };
  }

  async #accounts(tenant: string): Promise<Pick<TenantReport, 'accounts' | 'moreAccounts'>> {
    const { accounts } = this.#dependencies.acme;
    const { listed, more } = await firstOf(pagesOf((page) => accounts.list({ tenant }, page)));
    return { accounts: listed, moreAccounts: more };
  }
}

/** Those that one message lists, and how many more there are. */
async function firstOf<T>(
  pages: AsyncIterable<readonly T[]>,
): Promise<{ readonly listed: readonly T[]; readonly more: number }> {
  const listed: T[] = [];
  let more = 0;
  for await (const page of pages) {
    const shown = page.slice(0, maximumShown - listed.length);
    listed.push(...shown);
    more += page.length - shown.length;
  }
  return { listed, more };
}

async function count<T>(
  pages: AsyncIterable<readonly T[]>,
  isCounted: (item: T) => boolean = () => true,
): Promise<number> {
  let counted = 0;
  for await (const page of pages) counted += page.filter(isCounted).length;
  return counted;
}

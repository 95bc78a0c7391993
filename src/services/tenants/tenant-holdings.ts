import type { Clock } from '../../common/runtime/index.ts';
import type { AcmeAccount, EabKey, Tenant } from '../../domain/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { AcmeStore, CertificateStore, EntryStore } from '../../store/ports/index.ts';
import type { TenantReport } from './tenants.ts';

export interface HoldingsDependencies {
  readonly entries: Pick<EntryStore, 'list'>;
  readonly certificates: Pick<CertificateStore, 'countLive' | 'lastNotAfter'>;
  readonly acme: Pick<AcmeStore, 'eabKeys' | 'accounts'>;
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
      eabKeys: await this.#eabKeys(tenant.name),
      accounts: await this.#accounts(tenant.name),
    };
  }

  /** Ends the EAB keys and accounts of a tenant for ever. */
  async endFor({ name }: Tenant, actor: string): Promise<void> {
    const { acme, clock } = this.#dependencies;
    const act = { actor, timeMs: clock.nowMs() };
    const filter = { tenant: name, includeEnded: false, now: clock.now() };
    for await (const keys of pagesOf((page) => acme.eabKeys.list(filter, page)))
      for (const key of keys)
        await acme.eabKeys.update(
          { ...key, revokedAt: clock.now(), version: key.version + 1 },
          {
            rights: [],
            event: {
              ...act,
              kind: 'eab-key.revoked',
              subject: key.id,
              detail: { tenant: name, reason: 'the tenant was deleted' },
            },
          },
        );
    const valid = { tenant: name, status: 'valid' } as const;
    for await (const accounts of pagesOf((page) => acme.accounts.list(valid, page)))
      for (const account of accounts)
        await acme.accounts.update(
          {
            ...account,
            status: 'revoked',
            version: account.version + 1,
            updatedAt: clock.now(),
          },
          {
            rights: [],
            event: {
              ...act,
              kind: 'acme.account.ended',
              subject: account.id,
              detail: { tenant: name, reason: 'the tenant was deleted' },
            },
          },
        );
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

  async #eabKeys(tenant: string): Promise<readonly EabKey[]> {
    const filter = { tenant, includeEnded: true, now: this.#dependencies.clock.now() };
    const { items } = await this.#dependencies.acme.eabKeys.list(filter, { size: maximumShown });
    return items;
  }

  async #accounts(tenant: string): Promise<readonly AcmeAccount[]> {
    const { items } = await this.#dependencies.acme.accounts.list(
      { tenant },
      { size: maximumShown },
    );
    return items;
  }
}

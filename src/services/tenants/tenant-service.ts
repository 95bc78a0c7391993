import { PkiError } from '../../common/errors/index.ts';
import { nextFreePlace } from '../../common/policy/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import {
  checkTenant,
  requireDisjoint,
  requireNewName,
  type Tenant,
  type TenantInput,
} from '../../domain/index.ts';
import { tenantCounter } from '../../issuance/index.ts';
import type { LedgerQuotas, LedgerTenants } from '../../ledger/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage, checkText } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';
import { collisionsOf, type CollisionDependencies } from './collisions.ts';
import { noTenant } from './names-of-tenants.ts';
import { tenantEvent } from './tenant-events.ts';
import type { TenantHoldings } from './tenant-holdings.ts';
import type { TenantOwners } from './tenant-owners.ts';
import type {
  TenantChange,
  TenantDeletion,
  TenantEnd,
  TenantReport,
  Tenants,
  TenantView,
} from './tenants.ts';

export interface TenantDependencies extends CollisionDependencies {
  readonly tenants: LedgerTenants;
  readonly owners: Pick<TenantOwners, 'refresh'>;
  readonly holdings: TenantHoldings;
  readonly quotas: LedgerQuotas;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: Pick<ServiceSettings, 'trustDomain' | 'reservedDnsNames'>;
}

/**
 * Tenants. Whoever gives names to a tenant takes them from everybody else: that needs every right.
 * A role over a tenant reads and ends it.
 */
export class TenantService implements Tenants {
  readonly #dependencies: TenantDependencies;

  constructor(dependencies: TenantDependencies) {
    this.#dependencies = dependencies;
  }

  create(
    caller: OperatorCaller,
    input: TenantInput,
    { dryRun, signal }: { readonly dryRun: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<TenantChange> {
    return this.#refusing(caller, 'CreateTenant', input.name, async () => {
      const rights = await this.#everything(caller, 'creating a tenant');
      const { tenants, clock } = this.#dependencies;
      const now = clock.now();
      const tenant: Tenant = {
        ...checkTenant(input, this.#dependencies.settings),
        state: 'active',
        version: 1,
        createdAt: now,
        updatedAt: now,
        createdBy: actorOf(caller),
      };
      requireNewName(tenant, await tenants.owners());
      const change = await this.#change(rights, tenant);
      if (dryRun) return change;
      await tenants.create(tenant, this.#event(caller, 'tenant.created', tenant), signal);
      await this.#dependencies.owners.refresh();
      return change;
    });
  }

  list(
    caller: OperatorCaller,
    filter: { readonly includeEnded: boolean },
    page: PageRequest,
  ): Promise<Page<TenantView>> {
    return this.#refusing(caller, 'ListTenants', '', async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('tenant.read', { kind: 'none' });
      const { items, next } = await visiblePage(
        (request) => this.#dependencies.tenants.list(filter, request),
        ({ name }) => rights.permits('tenant.read', { kind: 'tenant', name }),
        checkPage(page),
      );
      return { items: items.map((tenant) => this.#view(tenant)), next };
    });
  }

  get(caller: OperatorCaller, name: string): Promise<TenantReport> {
    return this.#refusing(caller, 'GetTenant', name, async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('tenant.read', { kind: 'none' });
      const tenant = await this.#visible(rights, name);
      return { view: this.#view(tenant), ...(await this.#dependencies.holdings.of(tenant)) };
    });
  }

  update(
    caller: OperatorCaller,
    input: TenantInput,
    { version, dryRun }: { readonly version: number; readonly dryRun: boolean },
  ): Promise<TenantChange> {
    return this.#refusing(caller, 'UpdateTenant', input.name, async () => {
      const rights = await this.#everything(caller, 'changing a tenant');
      const { tenants, clock, settings } = this.#dependencies;
      const before = await this.#visible(rights, input.name);
      if (before.state === 'deleted')
        throw new PkiError('CONFLICT', `the tenant ${before.name} was deleted`, {
          next: 'Make a tenant of another name (meshca tenant create).',
        });
      if (version !== 0 && version !== before.version)
        throw new PkiError(
          'CONFLICT',
          `the tenant ${before.name} is at version ${before.version}, not ${version}`,
        );
      const tenant: Tenant = {
        ...before,
        ...checkTenant(input, settings),
        version: before.version + 1,
        updatedAt: clock.now(),
      };
      const change = await this.#change(rights, tenant);
      if (dryRun) return change;
      await tenants.update(tenant, this.#event(caller, 'tenant.changed', tenant));
      await this.#dependencies.owners.refresh();
      return change;
    });
  }

  previewEnd(caller: OperatorCaller, name: string): Promise<TenantEnd> {
    return this.#refusing(caller, 'PreviewTenantEnd', name, async () => {
      const rights = await this.#dependencies.access.of(caller);
      const tenant = await this.#visible(rights, name);
      return { tenant, ...(await this.#dependencies.holdings.affected(tenant)) };
    });
  }

  end(caller: OperatorCaller, name: string, reason: string): Promise<Tenant> {
    return this.#refusing(caller, 'EndTenant', name, async () => {
      const { access, tenants } = this.#dependencies;
      const text = checkText('reason', reason, 500);
      const rights = await access.of(caller);
      rights.require('tenant.write', { kind: 'none' });
      const before = await this.#visible(rights, name);
      rights.require('tenant.write', { kind: 'tenant', name });
      if (before.state !== 'active') return before;
      const ended = this.#next(before, 'ended');
      await tenants.update(ended, this.#event(caller, 'tenant.ended', ended, text));
      await this.#dependencies.owners.refresh();
      return ended;
    });
  }

  delete(caller: OperatorCaller, name: string, reason: string): Promise<TenantDeletion> {
    return this.#refusing(caller, 'DeleteTenant', name, async () => {
      const text = checkText('reason', reason, 500);
      const { tenants, holdings, owners } = this.#dependencies;
      const rights = await this.#everything(caller, 'deleting a tenant');
      const tenant = await this.#visible(rights, name);
      if (tenant.state === 'deleted') return { eabKeys: 0, accounts: 0, altered: [] };
      if (tenant.state !== 'ended')
        throw new PkiError('CONFLICT', `the tenant ${name} is active`, {
          next: `End it first: meshca tenant end ${name}.`,
        });
      const deletion = await holdings.endFor(tenant, actorOf(caller));
      const deleted: Tenant = {
        ...this.#next(tenant, 'deleted'),
        ...{ dnsSuffixes: [], spiffePrefixes: [], quotaCertificates: 0, quotaSeconds: 0 },
      };
      const event = this.#event(caller, 'tenant.deleted', tenant, text);
      await tenants.update(deleted, event);
      await owners.refresh();
      return deletion;
    });
  }

  /** For metrics and others of this process: without a caller. */
  async views(): Promise<readonly TenantView[]> {
    return (await this.#dependencies.tenants.owners()).all().map((tenant) => this.#view(tenant));
  }

  #refusing<T>(
    caller: OperatorCaller,
    operation: OperationName,
    name: string,
    act: () => Promise<T>,
  ): Promise<T> {
    const { refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation, subject: name.slice(0, 64) }, act);
  }

  async #everything(caller: OperatorCaller, act: string): Promise<OperatorRights> {
    const rights = await this.#dependencies.access.of(caller);
    rights.requireEverything(act);
    return rights;
  }

  /** Who may not read a tenant does not learn that it exists. */
  async #visible(rights: OperatorRights, name: string): Promise<Tenant> {
    const tenant = await this.#dependencies.tenants.byName(name);
    const isVisible =
      rights.permits('tenant.read', { kind: 'tenant', name }) ||
      rights.permits('tenant.write', { kind: 'tenant', name });
    if (tenant !== undefined && isVisible) return tenant;
    throw noTenant(name);
  }

  async #change(rights: OperatorRights, tenant: Tenant): Promise<TenantChange> {
    const owners = await this.#dependencies.tenants.owners();
    requireDisjoint(tenant, owners, (name) =>
      rights.permits('tenant.read', { kind: 'tenant', name }),
    );
    return { tenant, ...(await collisionsOf(this.#dependencies, owners, tenant)) };
  }

  #next(before: Tenant, state: Tenant['state']): Tenant {
    const updatedAt = this.#dependencies.clock.now();
    return { ...before, state, version: before.version + 1, updatedAt };
  }

  #view(tenant: Tenant): TenantView {
    const { quotaCertificates: limit, name } = tenant;
    if (limit === 0) return { tenant, quotaUsed: 0, nextFreeAt: 0 };
    const now = this.#dependencies.clock.now();
    const ends = this.#dependencies.quotas.ends(tenantCounter(name));
    return {
      tenant,
      quotaUsed: ends.filter((until) => until > now).length,
      nextFreeAt: nextFreePlace({ limit }, ends, now) ?? 0,
    };
  }

  #event(
    caller: OperatorCaller,
    kind: Parameters<typeof tenantEvent>[0],
    tenant: Tenant,
    reason?: string,
  ): ReturnType<typeof tenantEvent> {
    const act = { actor: actorOf(caller), timeMs: this.#dependencies.clock.nowMs() };
    return tenantEvent(kind, tenant, { ...act, ...(reason === undefined ? {} : { reason }) });
  }
}

import { PkiError } from '../common/errors/index.ts';
import {
  NameOwners,
  requireDisjoint,
  requireNewName,
  type AuditEvent,
  type Proven,
  type Tenant,
} from '../domain/index.ts';
import type { TenantStore } from '../store/ports/index.ts';
import { comparedRows } from './compared-rows.ts';
import { isNotInLog } from './not-in-log.ts';
import type { Objects } from './objects.ts';

/**
 * Tenants as the log has them. To overlook one would free its names for others: what rests on all
 * tenants is refused while a row was altered or taken away past the log.
 */
export interface LedgerTenants extends Pick<TenantStore, 'list'> {
  /** @throws PkiError OBJECT_NOT_IN_LOG */
  byName(name: string): Promise<Proven<Tenant> | undefined>;
  /**
   * Every tenant, those that were deleted included, by its names. One object for all callers, which
   * follows the log: what it says is what the log has at the end of this call or later.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  owners(): Promise<NameOwners<Proven<Tenant>>>;
  /** ALREADY_EXISTS, also for a tenant that was deleted; TENANT_OVERLAPS. */
  create(tenant: Tenant, event: AuditEvent, signal?: AbortSignal): Promise<void>;
  /** NOT_FOUND, CONFLICT for another version before, TENANT_OVERLAPS. */
  update(tenant: Tenant, event: AuditEvent): Promise<void>;
  /** Grows with each record of a tenant. */
  newest(): number;
}

type Proofs = Pick<
  Objects,
  'prove' | 'require' | 'requireRow' | 'newest' | 'expectedCount' | 'announceMissing'
> &
  Pick<Objects, 'announceAbsent' | 'onRecord'>;

/** Another process changes tenants now and then. */
const maximumTries = 20;

export const ledgerTenants = (rows: TenantStore, objects: Proofs): LedgerTenants =>
  new ProvenTenants(rows, objects);

/** Owner of the memory of all tenants, into which each record of a tenant is read. */
class ProvenTenants implements LedgerTenants {
  readonly #rows: TenantStore;
  readonly #objects: Proofs;
  #owners: NameOwners<Proven<Tenant>> | undefined;
  /** The newest record that is in the memory. */
  #read = 0;
  /** Tenants with a record that is not in the memory. */
  readonly #changed = new Set<string>();
  #reading: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(rows: TenantStore, objects: Proofs) {
    this.#rows = rows;
    this.#objects = objects;
    objects.onRecord('tenant', (name) => this.#changed.add(name));
  }

  newest(): number {
    return this.#objects.newest('tenant');
  }

  async byName(name: string): Promise<Proven<Tenant> | undefined> {
    const row = await this.#rows.byName(name);
    if (row !== undefined) return this.#objects.require('tenant', row);
    this.#objects.announceAbsent('tenant', name);
    return undefined;
  }

  list(...args: Parameters<TenantStore['list']>): ReturnType<TenantStore['list']> {
    return this.#rows.list(...args);
  }

  async owners(): Promise<NameOwners<Proven<Tenant>>> {
    for (;;) {
      if (this.#owners !== undefined && this.#read === this.newest()) return this.#owners;
      this.#reading ??= this.#readAgain().finally(() => {
        this.#reading = undefined;
      });
      await this.#reading;
    }
  }

  create(tenant: Tenant, event: AuditEvent, signal?: AbortSignal): Promise<void> {
    return this.#compared(
      tenant,
      (owners) => requireNewName(tenant, owners),
      (among) => this.#rows.create(tenant, among, { event, signal }),
    );
  }

  update(tenant: Tenant, event: AuditEvent): Promise<void> {
    return this.#compared(
      tenant,
      () => undefined,
      (among) => this.#rows.update(tenant, among, event),
    );
  }

  /**
   * Writes once no other tenant has a name of this one. One change at a time, as each rests on all
   * before it; the transaction refuses where another process was faster.
   */
  #compared(
    tenant: Tenant,
    check: (owners: NameOwners<Tenant>) => void,
    write: (among: { readonly versions: number }) => Promise<boolean>,
  ): Promise<void> {
    const done = this.#writing.then(async () => {
      for (let tries = 0; tries < maximumTries; tries += 1) {
        const owners = await this.owners();
        check(owners);
        requireDisjoint(tenant, owners);
        let versions = 0;
        for (const { version } of owners.all()) versions += version;
        if (await write({ versions })) return;
        // a change of another process, or a row that was altered
        this.#owners = undefined;
      }
      throw new PkiError('CONFLICT', 'other tenants change all the time');
    });
    this.#writing = done.catch(() => undefined);
    return done;
  }

  async #readAgain(): Promise<void> {
    const newest = this.newest();
    const changed = [...this.#changed];
    this.#changed.clear();
    try {
      if (this.#owners === undefined || changed.length === 0) this.#owners = await this.#readAll();
      else for (const name of changed) await this.#readOne(this.#owners, name);
      // a tenant that was recorded meanwhile may be in none of the rows: the caller reads on
      if (this.newest() !== newest) return;
      if (this.#owners.size !== this.#objects.expectedCount('tenant')) throw altered();
      this.#read = newest;
    } catch (thrown) {
      this.#owners = undefined;
      throw isNotInLog(thrown) ? altered(thrown) : thrown;
    }
  }

  async #readAll(): Promise<NameOwners<Proven<Tenant>>> {
    return new NameOwners(await comparedRows(this.#objects, 'tenant', () => this.#rows.all()));
  }

  async #readOne(owners: NameOwners<Proven<Tenant>>, name: string): Promise<void> {
    const row = this.#objects.requireRow('tenant', name, await this.#rows.byName(name));
    if (row === undefined) owners.remove(name);
    else owners.put(this.#objects.require('tenant', row));
  }
}

const altered = (cause?: unknown): PkiError =>
  new PkiError(
    'OBJECT_NOT_IN_LOG',
    'the tenants in the database differ from the audit log; no name is given to anybody else',
    { detail: { kind: 'tenant' }, cause },
  );

import type { AcmeAccount, AcmeOrder, EabKey, Proven } from '../domain/index.ts';
import type {
  AcmeAccountStore,
  AcmeOrderStore,
  AcmeStore,
  EabKeyStore,
  Page,
  PageRequest,
} from '../store/ports/index.ts';
import { pagesOf } from '../store/pages.ts';
import { alteredRows } from './altered-rows.ts';
import type { Objects } from './objects.ts';
import type { RowComparison } from './row-comparison.ts';
import { rowsOnPage } from './unfound-rows.ts';

type Proofs = Pick<Objects, 'prove' | 'require' | 'announceAbsent' | 'idsWithout'>;

/** Searches of rows that differ from the log, or are gone. They decide nothing. */
interface Searches {
  readonly accounts: Pick<RowComparison, 'soon'>;
  readonly orders: Pick<RowComparison, 'soon'>;
}

/**
 * ACME as the log has it. One row that was altered or taken away past the log is refused with
 * OBJECT_NOT_IN_LOG where it is asked for, and left out of lists. Both are announced; where a row
 * is looked up by something else than its ID, by a search in the background.
 */
export interface LedgerAcme extends AcmeStore {
  readonly eabKeys: LedgerEabKeys;
  readonly accounts: LedgerAcmeAccounts;
  readonly orders: LedgerAcmeOrders;
}

interface LedgerEabKeys extends EabKeyStore {
  byId(id: string): Promise<Proven<EabKey> | undefined>;
  /** The IDs of those whose row is missing or altered. Reads every row. Each is announced. */
  altered(): Promise<readonly string[]>;
}

interface LedgerAcmeAccounts extends AcmeAccountStore {
  byId(id: string): Promise<Proven<AcmeAccount> | undefined>;
  byThumbprint(thumbprint: string): Promise<Proven<AcmeAccount> | undefined>;
  /** As of EAB keys. */
  altered(): Promise<readonly string[]>;
}

interface LedgerAcmeOrders extends AcmeOrderStore {
  byId(id: string): Promise<Proven<AcmeOrder> | undefined>;
  bySerial(serial: string): Promise<Proven<AcmeOrder> | undefined>;
  replacing(serial: string): Promise<Proven<AcmeOrder> | undefined>;
  finalizing(page: PageRequest): Promise<Page<Proven<AcmeOrder>>>;
  validating(page: PageRequest): Promise<Page<Proven<AcmeOrder>>>;
}

export const ledgerAcme = (rows: AcmeStore, objects: Proofs, searches: Searches): LedgerAcme => ({
  eabKeys: ledgerEabKeys(rows.eabKeys, objects),
  accounts: ledgerAccounts(rows.accounts, objects, searches.accounts),
  orders: ledgerOrders(rows.orders, objects, searches.orders),
  pruneExchanged: (which, limit, lease, events) => rows.pruneExchanged(which, limit, lease, events),
  useNonce: (nonce) => rows.useNonce(nonce),
  pruneNonces: (now, limit, lease) => rows.pruneNonces(now, limit, lease),
});

const ledgerEabKeys = (rows: EabKeyStore, objects: Proofs): LedgerEabKeys => ({
  byId: async (id) => {
    const row = await rows.byId(id);
    if (row !== undefined) return objects.require('eab-key', row);
    objects.announceAbsent('eab-key', id);
    return undefined;
  },
  list: async (filter, page) =>
    provenPage(await rows.list(filter, page), (key) => objects.prove('eab-key', key)),
  ends: (ids, now) => rows.ends(ids, now),
  create: (key, write) => rows.create(key, write),
  update: (key, write) => rows.update(key, write),
  forget: (id, event) => rows.forget(id, event),
  altered: () =>
    alteredRows('eab-key', objects, {
      all: pagesOf((page) => rows.list({ includeEnded: true, now: 0 }, page), { size: rowsOnPage }),
      byId: (id) => rows.byId(id),
    }),
});

const ledgerAccounts = (
  rows: AcmeAccountStore,
  objects: Proofs,
  search: Searches['accounts'],
): LedgerAcmeAccounts => ({
  byId: async (id) => {
    const row = await rows.byId(id);
    if (row !== undefined) return objects.require('acme-account', row);
    objects.announceAbsent('acme-account', id);
    return undefined;
  },
  byThumbprint: async (thumbprint) => {
    const row = await rows.byThumbprint(thumbprint);
    if (row !== undefined) return objects.require('acme-account', row);
    search.soon();
    return undefined;
  },
  list: async (filter, page) =>
    provenPage(await rows.list(filter, page), (account) => objects.prove('acme-account', account)),
  create: (account, write) => rows.create(account, write),
  update: (account, write) => rows.update(account, write),
  forget: (id, event) => rows.forget(id, event),
  altered: () =>
    alteredRows('acme-account', objects, {
      all: pagesOf((page) => rows.list({}, page), { size: rowsOnPage }),
      byId: (id) => rows.byId(id),
    }),
});

function ledgerOrders(
  rows: AcmeOrderStore,
  objects: Proofs,
  search: Searches['orders'],
): LedgerAcmeOrders {
  const required = (row: AcmeOrder | undefined): Proven<AcmeOrder> | undefined =>
    row === undefined ? undefined : objects.require('acme-order', row);
  const searched = (row: AcmeOrder | undefined): Proven<AcmeOrder> | undefined => {
    if (row === undefined) search.soon();
    return required(row);
  };
  const proven = (page: Page<AcmeOrder>): Page<Proven<AcmeOrder>> =>
    provenPage(page, (order) => objects.prove('acme-order', order));
  return {
    byId: async (id) => {
      const row = await rows.byId(id);
      if (row === undefined) objects.announceAbsent('acme-order', id);
      return required(row);
    },
    bySerial: async (serial) => searched(await rows.bySerial(serial)),
    replacing: async (serial) => searched(await rows.replacing(serial)),
    wasReplaced: async (serial) => {
      const was = await rows.wasReplaced(serial);
      if (!was) search.soon();
      return was;
    },
    list: async (filter, page) => proven(await rows.list(filter, page)),
    finalizing: async (page) => proven(await rows.finalizing(page)),
    validating: async (page) => proven(await rows.validating(page)),
    create: (order, write) => rows.create(order, write),
    update: (order, write) => rows.update(order, write),
    acquire: (id, lease) => rows.acquire(id, lease),
    release: (id, holder) => rows.release(id, holder),
    prune: (which, limit, lease, event) => rows.prune(which, limit, lease, event),
  };
}

const provenPage = <T>(
  { items, next }: Page<T>,
  prove: (item: T) => Proven<T> | undefined,
): Page<Proven<T>> => ({ items: items.flatMap((item) => prove(item) ?? []), next });

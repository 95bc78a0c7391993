import { PkiError } from '../../common/errors/index.ts';
import { deletedObject, loggedObject, type AcmeAccount } from '../../domain/index.ts';
import type { AcmeAccountTable } from '../acme-schema.ts';
import type { AcmeAccountStore, LogGuard } from '../ports/index.ts';
import type { WriteAcme } from './acme-write.ts';
import type { AuditWriter } from './audit.ts';
import { loggedJson, loggedTexts } from './codec.ts';
import type { BindEabKey } from './eab-keys.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder, type Slots } from './statement.ts';
import { requireVersionBefore } from './versions.ts';

interface AcmeAccountDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly write: WriteAcme;
  readonly bindKey: BindEabKey;
}

export function createAcmeAccounts(
  engine: Engine,
  { audit, guard, write, bindKey }: AcmeAccountDependencies,
): AcmeAccountStore {
  const { byId, byThumbprint, insert, update, remove } = accountStatements(engine);
  const read = (id: string): AcmeAccount | undefined => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toAccount(row);
  };
  const requireFreeKey = ({ id, thumbprint }: AcmeAccount): void => {
    const other = byThumbprint.get({ thumbprint });
    if (other !== undefined && other.id !== id)
      throw new PkiError('ALREADY_EXISTS', `the key is that of the account ${other.id}`, {
        detail: { account: other.id },
      });
  };
  return {
    byId: (id) => engine.read(() => read(id)),
    byThumbprint: (thumbprint) =>
      engine.read(() => {
        const row = byThumbprint.get({ thumbprint });
        return row === undefined ? undefined : toAccount(row);
      }),
    list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
    create: (account, options) =>
      write(options, () => {
        if (guard.requireRow('acme-account', account.id, read(account.id)) !== undefined)
          throw new PkiError('ALREADY_EXISTS', `there is an account ${account.id}`);
        requireFreeKey(account);
        bindKey(account, options.event);
        insert.run(toRow(account));
        audit(options.event, loggedObject('acme-account', account));
      }),
    update: (account, options) =>
      write(options, () => {
        const present = guard.requireRow('acme-account', account.id, read(account.id));
        requireVersionBefore(account, present, `account ${account.id}`);
        requireFreeKey(account);
        update.run(toRow(account));
        audit(options.event, loggedObject('acme-account', account));
      }),
    forget: (id, event) =>
      engine.write(() => {
        remove.run({ id });
        audit(event, deletedObject('acme-account', id));
      }),
  };
}

/** Reads an account for a right. */
export function acmeAccountById(engine: Engine): (id: string) => AcmeAccount | undefined {
  const { byId } = accountStatements(engine);
  return (id) => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toAccount(row);
  };
}

function listed(
  engine: Engine,
  { tenant, eabKeyId, status }: Parameters<AcmeAccountStore['list']>[0],
  page: Parameters<AcmeAccountStore['list']>[1],
): Awaited<ReturnType<AcmeAccountStore['list']>> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('acme_accounts')
    .selectAll()
    .where('id', '>', page.after ?? '')
    .orderBy('id')
    .limit(size + 1);
  if (tenant !== undefined) query = query.where('tenant', '=', tenant);
  if (eabKeyId !== undefined) query = query.where('eab_key_id', '=', eabKeyId);
  if (status !== undefined) query = query.where('status', '=', status);
  return toPage(engine.rows(query), size, toAccount, ({ id }) => id);
}

type Row = { [Column in keyof AcmeAccountTable]: AcmeAccountTable[Column] };

/** Every column but the key: what an insertion and a change write. */
const contentOf = (slot: Slots<Row>) => ({
  algorithm: slot('algorithm'),
  jwk: slot('jwk'),
  thumbprint: slot('thumbprint'),
  contacts: slot('contacts'),
  status: slot('status'),
  eab_key_id: slot('eab_key_id'),
  tenant: slot('tenant'),
  version: slot('version'),
  created_at: slot('created_at'),
  updated_at: slot('updated_at'),
});

function accountStatements(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('acme_accounts').selectAll().where('id', '=', slot('id')),
    ),
    byThumbprint: engine.statement<{ thumbprint: string }>()((query, slot) =>
      query.selectFrom('acme_accounts').selectAll().where('thumbprint', '=', slot('thumbprint')),
    ),
    insert: engine.statement<Row>()((query, slot) =>
      query.insertInto('acme_accounts').values({ id: slot('id'), ...contentOf(slot) }),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('acme_accounts').set(contentOf(slot)).where('id', '=', slot('id')),
    ),
    remove: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('acme_accounts').where('id', '=', slot('id')),
    ),
  };
}

const toRow = (account: AcmeAccount): AcmeAccountTable => ({
  id: account.id,
  algorithm: account.algorithm,
  jwk: JSON.stringify(account.jwk),
  thumbprint: account.thumbprint,
  contacts: JSON.stringify(account.contacts),
  status: account.status,
  eab_key_id: account.eabKeyId,
  tenant: account.tenant,
  version: account.version,
  created_at: account.createdAt,
  updated_at: account.updatedAt,
});

export const toAccount = (row: AcmeAccountTable): AcmeAccount => ({
  id: row.id,
  algorithm: row.algorithm,
  jwk: loggedJson<AcmeAccount['jwk']>(row.jwk, {}),
  thumbprint: row.thumbprint,
  contacts: loggedTexts(row.contacts),
  status: row.status,
  eabKeyId: row.eab_key_id,
  tenant: row.tenant,
  version: row.version,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

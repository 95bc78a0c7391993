import { deletedObject } from '../../domain/index.ts';
import type { AcmeStore, EabKeyPlace, LogGuard } from '../ports/index.ts';
import { toAccount } from './acme-accounts.ts';
import type { AuditWriter } from './audit.ts';
import { toEabKey } from './eab-keys.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';

interface ExchangedKeyDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
}

/** Pipelines exchange a key for each run, so that these keys and their accounts do not stay. */
export function prunesExchanged(
  engine: Engine,
  { audit, guard, checkFence }: ExchangedKeyDependencies,
): AcmeStore['pruneExchanged'] {
  const { expired, accountsOf, orderOf, dropKey, dropAccount } = exchangedStatements(engine);
  return ({ expiredBefore: before, after }, limit, lease, events) =>
    engine.write(() => {
      checkFence(lease);
      let removed = 0;
      let last: EabKeyPlace | undefined;
      const rows = expired.all({
        ...{ before, limit },
        ...{ after: after?.expiresAt ?? Number.MIN_SAFE_INTEGER, id: after?.id ?? '' },
      });
      for (const row of rows) {
        last = { expiresAt: row.expires_at, id: row.id };
        const key = toEabKey(row);
        if (!guard.sameRow('eab-key', key.id, key)) continue;
        const accounts = accountsOf.all({ key: key.id }).map(toAccount);
        // the account that the log has bound to the key, and no other one
        if (accounts.length !== (key.accountId === null ? 0 : 1)) continue;
        const isDone = accounts.every(
          (account) =>
            account.id === key.accountId &&
            guard.sameRow('acme-account', account.id, account) &&
            orderOf.get({ account: account.id }) === undefined,
        );
        if (!isDone) continue;
        for (const account of accounts) {
          dropAccount.run({ id: account.id });
          audit(events.account(account), deletedObject('acme-account', account.id));
        }
        dropKey.run({ id: key.id });
        audit(events.key(key), deletedObject('eab-key', key.id));
        removed += 1;
      }
      return { removed, next: rows.length < limit ? undefined : last };
    });
}

function exchangedStatements(engine: Engine) {
  type Place = { before: number; after: number; id: string; limit: number };
  return {
    expired: engine.statement<Place>()((query, slot) =>
      query
        .selectFrom('eab_keys')
        .selectAll()
        .where('source', 'is not', null)
        .where('expires_at', '<', slot('before'))
        .where((has) =>
          has(has.refTuple('expires_at', 'id'), '>', has.tuple(slot('after'), slot('id'))),
        )
        .orderBy('expires_at')
        .orderBy('id')
        .limit(slot('limit')),
    ),
    accountsOf: engine.statement<{ key: string }>()((query, slot) =>
      query.selectFrom('acme_accounts').selectAll().where('eab_key_id', '=', slot('key')).limit(2),
    ),
    orderOf: engine.statement<{ account: string }>()((query, slot) =>
      query
        .selectFrom('acme_orders')
        .select('id')
        .where('account_id', '=', slot('account'))
        .limit(1),
    ),
    dropKey: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('eab_keys').where('id', '=', slot('id')),
    ),
    dropAccount: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('acme_accounts').where('id', '=', slot('id')),
    ),
  };
}

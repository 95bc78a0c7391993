import { loggedObject, type AuditEvent, type BlockedKey } from '../../domain/index.ts';
import type { BlockedKeyStore, LogGuard, Page, PageRequest } from '../ports/index.ts';
import type { BlockedKeyTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';
import { badCursor, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/** Whether nothing may be issued for the key with this SHA-256, inside a transaction. */
export type IsKeyBlocked = (publicKeySha256: string) => boolean;

interface BlockedKeyDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly revisions: Revisions;
}

export interface BlockedKeyRows {
  readonly store: BlockedKeyStore;
  readonly isBlocked: IsKeyBlocked;
  /** Blocks a key inside the caller's transaction: see BlockedKeyStore. */
  readonly block: (key: BlockedKey, event: AuditEvent) => BlockedKey;
}

export function createBlockedKeys(
  engine: Engine,
  { audit, guard, revisions }: BlockedKeyDependencies,
): BlockedKeyRows {
  const put = putOf(engine);
  // blocks of the open transaction, which the log knows only after the commit
  const open = new Map<string, BlockedKey>();
  let ofThisWrite: string[] = [];
  engine.beforeJob((first) => {
    if (first) open.clear();
    ofThisWrite = [];
  });
  engine.afterCommit(() => open.clear());
  engine.onRollback(() => {
    for (const sha256 of ofThisWrite) open.delete(sha256);
  });
  const blocked = (sha256: string): BlockedKey | undefined =>
    guard.blockedKey(sha256) ?? open.get(sha256);

  const block = (key: BlockedKey, event: AuditEvent): BlockedKey => {
    const present = blocked(key.publicKeySha256);
    // a row that was lost is written again, and one that somebody else put there is replaced
    put.run(toRow(present ?? key));
    if (present !== undefined) return present;
    revisions.advance();
    const { publicKeySha256, reason, blockedAt, blockedBy } = key;
    const detail = { ...event.detail, publicKeySha256, reason, blockedAt, blockedBy };
    audit({ ...event, detail }, loggedObject('blocked-key', key));
    open.set(publicKeySha256, key);
    ofThisWrite.push(publicKeySha256);
    return key;
  };
  return {
    isBlocked: (sha256) => blocked(sha256) !== undefined,
    block,
    store: {
      block: (key, event) => engine.write(() => block(key, event)),
      list: (page) => engine.read(() => listed(engine, page), page.signal),
    },
  };
}

const putOf = (engine: Engine) =>
  engine.statement<{ [Column in keyof BlockedKeyTable]: BlockedKeyTable[Column] }>()(
    (query, slot) => {
      const values = {
        reason: slot('reason'),
        blocked_at: slot('blocked_at'),
        blocked_by: slot('blocked_by'),
      };
      return query
        .insertInto('blocked_keys')
        .values({ public_key_sha256: slot('public_key_sha256'), ...values })
        .onConflict((conflict) => conflict.column('public_key_sha256').doUpdateSet(values));
    },
  );

function listed(engine: Engine, page: PageRequest): Page<BlockedKey> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('blocked_keys')
    .selectAll()
    .orderBy('public_key_sha256')
    .limit(size + 1);
  if (page.after !== undefined) {
    const after = fromHexOrUndefined(page.after);
    if (after === undefined) throw badCursor();
    query = query.where('public_key_sha256', '>', after);
  }
  return toPage(engine.rows(query), size, toKey, ({ public_key_sha256: sha256 }) => hex(sha256));
}

const toKey = (row: BlockedKeyTable): BlockedKey => ({
  publicKeySha256: hex(row.public_key_sha256),
  reason: row.reason,
  blockedAt: row.blocked_at,
  blockedBy: row.blocked_by,
});

const toRow = (key: BlockedKey): BlockedKeyTable => ({
  public_key_sha256: fromHex(key.publicKeySha256, 'the digest of the public key'),
  reason: key.reason,
  blocked_at: key.blockedAt,
  blocked_by: key.blockedBy,
});

import { PkiError } from '../../common/errors/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import { loggedObject, type JoinToken } from '../../domain/index.ts';
import type { JoinTokenStore, LogGuard, Page, PageRequest } from '../ports/index.ts';
import type { JoinTokenTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, fromHexOrUndefined, fromJson, hex, hexOrNull } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/**
 * Inside the transaction that records the agent: the answer that repeated uses of the token get.
 */
export type BindTokenResult = (id: string, use: TokenUse) => void;

export interface TokenUse {
  readonly agentId: string;
  readonly publicKeySha256: string;
  readonly serial: string;
  readonly now: number;
}

/** In `expires_at`. */
const revokedAt = 0;
const alreadyOver = 'Nothing is to be done: it lets nobody join.';

export function createJoinTokens(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): { readonly store: JoinTokenStore; readonly bindResult: BindTokenResult } {
  const statements = joinTokenStatements(engine);
  const { insert, byId, byHash, revoke, awaited } = statements;
  const { existing, bindKey, bindResult } = tokenUses(statements, guard);

  return {
    bindResult,
    store: {
      create: (token, event) =>
        engine.write(() => {
          const row = toRow(token);
          insert.run(row);
          audit(event, loggedObject('join-token', toToken(row)));
        }),
      byHash: (tokenSha256) =>
        engine.read(() => {
          const hash = fromHexOrUndefined(tokenSha256);
          const row = hash === undefined ? undefined : byHash.get({ hash });
          return row === undefined ? undefined : toToken(row);
        }),
      byId: (id) =>
        engine.read(() => {
          const row = byId.get({ id });
          return row === undefined ? undefined : toToken(row);
        }),
      revoke: (id, now, event) =>
        engine.write(() => {
          const row = existing(id);
          guard.requireRow('join-token', id, toToken(row));
          refuseRevocation(row, now);
          revoke.run({ id });
          const revoked = toToken({ ...row, expires_at: revokedAt });
          audit(event, loggedObject('join-token', revoked));
          return revoked;
        }),
      bind: (id, publicKeySha256, now) => engine.write(() => bindKey(id, publicKeySha256, now)),
      isAwaited: (madeUntil, now) =>
        engine.read(() => awaited.get({ until: madeUntil, now }) !== undefined),
      list: (page) => engine.read(() => listed(engine, page)),
    },
  };
}

/** What the first use of a token writes into its row. */
function tokenUses(
  { byId, bind, setResult }: ReturnType<typeof joinTokenStatements>,
  guard: LogGuard,
): {
  readonly existing: (id: string) => JoinTokenTable;
  readonly bindKey: (id: string, publicKeySha256: string, now: number) => JoinToken;
  readonly bindResult: BindTokenResult;
} {
  const existing = (id: string): JoinTokenTable => {
    const row = byId.get({ id });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no join token ${id}`);
    return row;
  };
  const bound = (id: string, publicKeySha256: string, now: number): void =>
    void bind.run({ id, key: fromHex(publicKeySha256, 'the digest of the public key'), now });
  return {
    existing,
    bindKey: (id, publicKeySha256, now) => {
      guard.requireRow('join-token', id, toToken(existing(id)));
      if (existing(id).expires_at <= now)
        throw new PkiError('JOIN_TOKEN_INVALID', `join token ${id} has expired`);
      bound(id, publicKeySha256, now);
      return toToken(existing(id));
    },
    bindResult: (id, use) => {
      const row = existing(id);
      guard.requireRow('join-token', id, toToken(row));
      refuseResult(row, use);
      bound(id, use.publicKeySha256, use.now);
      setResult.run({ id, serial: fromHex(use.serial, 'the serial') });
    },
  };
}

function listed(engine: Engine, page: PageRequest): Page<JoinToken> {
  const size = pageSize(page);
  const query = builder
    .selectFrom('join_tokens')
    .selectAll()
    .where('id', '>', page.after ?? '')
    .orderBy('id')
    .limit(size + 1);
  return toPage(engine.rows(query), size, toToken, (row) => row.id);
}

/** Whether an agent may get this serial by the token. */
function refuseResult(
  row: JoinTokenTable,
  { agentId, publicKeySha256, serial }: Pick<TokenUse, 'agentId' | 'publicKeySha256' | 'serial'>,
): void {
  if (row.expires_at === revokedAt)
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${row.id} was revoked`);
  if (row.agent_id !== agentId)
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${row.id} is for another agent`);
  if (
    row.bound_public_key_sha256 !== null &&
    hex(row.bound_public_key_sha256) !== publicKeySha256
  ) {
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${row.id} was used with another key`);
  }
  if (row.result_serial !== null && hex(row.result_serial) !== serial) {
    throw new PkiError(
      'CONFLICT',
      `join token ${row.id} already led to certificate ${hex(row.result_serial)}`,
      {
        next: 'Give the recorded certificate to the caller: the same token and key get the same answer.',
      },
    );
  }
}

function refuseRevocation(row: JoinTokenTable, now: number): void {
  if (row.expires_at === revokedAt)
    throw new PkiError('CONFLICT', `join token ${row.id} is revoked already`, {
      next: alreadyOver,
    });
  if (row.result_serial !== null)
    throw new PkiError(
      'CONFLICT',
      `join token ${row.id} was used: ${row.agent_id} has joined with it`,
      { next: 'End the agent: meshca agent ban, or evict.' },
    );
  if (row.expires_at <= now)
    throw new PkiError('CONFLICT', `join token ${row.id} has expired`, { next: alreadyOver });
}

function joinTokenStatements(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof JoinTokenTable]: JoinTokenTable[Column] }>()(
      (query, slot) =>
        query.insertInto('join_tokens').values({
          id: slot('id'),
          token_sha256: slot('token_sha256'),
          agent_id: slot('agent_id'),
          node_selectors: slot('node_selectors'),
          expires_at: slot('expires_at'),
          bound_public_key_sha256: slot('bound_public_key_sha256'),
          used_at: slot('used_at'),
          result_serial: slot('result_serial'),
          created_by: slot('created_by'),
          created_at: slot('created_at'),
        }),
    ),
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('join_tokens').selectAll().where('id', '=', slot('id')),
    ),
    byHash: engine.statement<{ hash: Buffer }>()((query, slot) =>
      query.selectFrom('join_tokens').selectAll().where('token_sha256', '=', slot('hash')),
    ),
    bind: engine.statement<{ id: string; key: Buffer; now: number }>()((query, slot) =>
      query
        .updateTable('join_tokens')
        .set({ bound_public_key_sha256: slot('key'), used_at: slot('now') })
        .where('id', '=', slot('id'))
        .where('bound_public_key_sha256', 'is', null),
    ),
    setResult: engine.statement<{ id: string; serial: Buffer }>()((query, slot) =>
      query
        .updateTable('join_tokens')
        .set({ result_serial: slot('serial') })
        .where('id', '=', slot('id')),
    ),
    revoke: engine.statement<{ id: string }>()((query, slot) =>
      query.updateTable('join_tokens').set({ expires_at: revokedAt }).where('id', '=', slot('id')),
    ),
    awaited: engine.statement<{ until: number; now: number }>()((query, slot) =>
      query
        .selectFrom('join_tokens')
        .select('id')
        .where('created_at', '<=', slot('until'))
        .where('expires_at', '>', slot('now'))
        .where('result_serial', 'is', null)
        .limit(1),
    ),
  };
}

const toRow = (token: JoinToken): JoinTokenTable => ({
  id: token.id,
  token_sha256: fromHex(token.tokenSha256, 'the digest of the token'),
  agent_id: token.agentId,
  node_selectors: JSON.stringify(token.nodeSelectors),
  expires_at: token.expiresAt,
  bound_public_key_sha256:
    token.boundPublicKeySha256 === null
      ? null
      : fromHex(token.boundPublicKeySha256, 'the digest of the public key'),
  used_at: token.usedAt,
  result_serial: token.resultSerial === null ? null : fromHex(token.resultSerial, 'the serial'),
  created_by: token.createdBy,
  created_at: token.createdAt,
});

const toToken = (row: JoinTokenTable): JoinToken => ({
  id: row.id,
  tokenSha256: hex(row.token_sha256),
  agentId: row.agent_id,
  nodeSelectors: fromJson<readonly Selector[]>('join_tokens', row.node_selectors),
  expiresAt: row.expires_at,
  boundPublicKeySha256: hexOrNull(row.bound_public_key_sha256),
  usedAt: row.used_at,
  resultSerial: hexOrNull(row.result_serial),
  createdBy: row.created_by,
  createdAt: row.created_at,
});

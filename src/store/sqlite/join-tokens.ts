import { PkiError } from '../../common/errors/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import {
  loggedObject,
  revokedTokenExpiry,
  type AuditEvent,
  type JoinToken,
} from '../../domain/index.ts';
import type { JoinTokenStore, LogGuard, Page, PageRequest, TokenBinding } from '../ports/index.ts';
import type { JoinTokenTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, fromHexOrUndefined, fromJson, hex, hexOrNull } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/**
 * Runs inside the transaction that records the agent. Binds the certificate that repeated uses of
 * the token get. Recorded as `token.used`, beside the event of the agent.
 */
export type BindTokenResult = (id: string, use: TokenUse, event: AuditEvent) => void;

export interface TokenUse {
  readonly agentId: string;
  readonly publicKeySha256: string;
  readonly serial: string;
  readonly now: number;
}

const alreadyOver = 'No action is needed: nobody can join with it.';

export function createJoinTokens(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): { readonly store: JoinTokenStore; readonly bindResult: BindTokenResult } {
  const statements = joinTokenStatements(engine);
  const { insert, byId, byHash, revoke } = statements;
  const { existing, bindKey, bindResult } = tokenUses(statements, audit, guard);

  return {
    bindResult,
    store: {
      create: (token, event, signal) =>
        engine.write(() => {
          const row = toRow(token);
          insert.run(row);
          audit(event, loggedObject('join-token', toToken(row)));
        }, signal),
      byHash: (tokenSha256) =>
        engine.read(() => {
          const hash = fromHexOrUndefined(tokenSha256);
          const row = hash === undefined ? undefined : byHash.get({ hash });
          return row === undefined ? undefined : toToken(row);
        }),
      byId: (id, signal) =>
        engine.read(() => {
          const row = byId.get({ id });
          return row === undefined ? undefined : toToken(row);
        }, signal),
      revoke: (id, now, event) =>
        engine.write(() => {
          const token = existing(id);
          refuseRevocation(token, now);
          revoke.run({ id });
          const revoked = { ...token, expiresAt: revokedTokenExpiry };
          audit(event, loggedObject('join-token', revoked));
          return revoked;
        }),
      bind: (id, use, event) => engine.write(() => bindKey(id, use, event)),
      list: (page) => engine.read(() => listed(engine, page), page.signal),
    },
  };
}

/** The changes of a token's row at its first use, each recorded. */
function tokenUses(
  { byId, bind, setResult }: ReturnType<typeof joinTokenStatements>,
  audit: AuditWriter,
  guard: LogGuard,
): {
  /** The token as the log vouches for it. */
  readonly existing: (id: string) => JoinToken;
  readonly bindKey: (id: string, use: TokenBinding, event: AuditEvent) => JoinToken;
  readonly bindResult: BindTokenResult;
} {
  const existing = (id: string): JoinToken => {
    const row = byId.get({ id });
    const token = guard.requireRow('join-token', id, row === undefined ? undefined : toToken(row));
    if (token === undefined) throw new PkiError('NOT_FOUND', `there is no join token ${id}`);
    return token;
  };
  const bound = (id: string, { publicKeySha256, now }: TokenBinding): void =>
    void bind.run({ id, key: fromHex(publicKeySha256, 'the digest of the public key'), now });
  return {
    existing,
    bindKey: (id, use, event) => {
      const token = existing(id);
      if (token.expiresAt <= use.now)
        throw new PkiError('JOIN_TOKEN_INVALID', `join token ${id} has expired`);
      if (token.boundPublicKeySha256 !== null) return token;
      bound(id, use);
      const marked = { ...token, boundPublicKeySha256: use.publicKeySha256, usedAt: use.now };
      audit(event, loggedObject('join-token', marked));
      return marked;
    },
    bindResult: (id, use, event) => {
      const token = existing(id);
      refuseResult(token, use);
      if (token.resultSerial !== null) return;
      bound(id, use);
      setResult.run({ id, serial: fromHex(use.serial, 'the serial') });
      audit(
        usedEvent(event, token, use),
        loggedObject('join-token', {
          ...token,
          boundPublicKeySha256: use.publicKeySha256,
          usedAt: token.usedAt ?? use.now,
          resultSerial: use.serial,
        }),
      );
    },
  };
}

const usedEvent = (
  { timeMs, actor }: AuditEvent,
  { id, agentId }: JoinToken,
  { publicKeySha256, serial }: TokenUse,
): AuditEvent => ({
  timeMs,
  actor,
  kind: 'token.used',
  subject: agentId,
  detail: { token: id, publicKeySha256, serial },
});

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

/** Refuses if the agent may not get this serial with the token. */
function refuseResult(
  token: JoinToken,
  { agentId, publicKeySha256, serial }: Pick<TokenUse, 'agentId' | 'publicKeySha256' | 'serial'>,
): void {
  if (token.expiresAt === revokedTokenExpiry)
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${token.id} was revoked`);
  if (token.agentId !== agentId)
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${token.id} is for another agent`);
  if (token.boundPublicKeySha256 !== null && token.boundPublicKeySha256 !== publicKeySha256)
    throw new PkiError('JOIN_TOKEN_INVALID', `join token ${token.id} was used with another key`);
  if (token.resultSerial !== null && token.resultSerial !== serial) {
    throw new PkiError(
      'CONFLICT',
      `join token ${token.id} already led to certificate ${token.resultSerial}`,
      {
        next: 'Give the recorded certificate to the caller: the same token and key get the same answer.',
      },
    );
  }
}

function refuseRevocation(token: JoinToken, now: number): void {
  if (token.expiresAt === revokedTokenExpiry)
    throw new PkiError('CONFLICT', `join token ${token.id} is already revoked`, {
      next: alreadyOver,
    });
  if (token.resultSerial !== null)
    throw new PkiError(
      'CONFLICT',
      `join token ${token.id} was used: ${token.agentId} has joined with it`,
      { next: 'End the agent instead: meshca agent ban, or meshca agent evict.' },
    );
  if (token.expiresAt <= now)
    throw new PkiError('CONFLICT', `join token ${token.id} has expired`, { next: alreadyOver });
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
      query
        .updateTable('join_tokens')
        .set({ expires_at: revokedTokenExpiry })
        .where('id', '=', slot('id')),
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

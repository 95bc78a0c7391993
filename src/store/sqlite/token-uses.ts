import { PkiError } from '../../common/errors/index.ts';
import { deletedObject, loggedObject, type AuditEvent, type TokenUse } from '../../domain/index.ts';
import type { LogGuard, TokenMark, TokenUseStore } from '../ports/index.ts';
import type { TokenUseTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, fromHexOrUndefined, hex, hexOrNull } from './codec.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';

interface TokenUseDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
}

/** Marks a token inside the caller's transaction. TOKEN_REPLAYED if it was used before. */
export function createTokenMarks(
  engine: Engine,
  dependencies: Pick<TokenUseDependencies, 'audit' | 'guard'>,
): (mark: TokenMark) => void {
  const { read, write } = useRows(tokenUseStatements(engine), dependencies);
  return ({ use, event }) => {
    const present = read(use.id);
    if (present !== undefined)
      throw new PkiError(
        'TOKEN_REPLAYED',
        `the token was used at ${new Date(present.usedAt * 1000).toISOString()}; it counts once`,
      );
    write({ ...use, serial: null, endedAt: null }, event);
  };
}

export function createTokenUses(engine: Engine, dependencies: TokenUseDependencies): TokenUseStore {
  const statements = tokenUseStatements(engine);
  const { read, write } = useRows(statements, dependencies);
  const existing = (id: string): TokenUse => {
    const use = read(id);
    if (use === undefined) throw new PkiError('NOT_FOUND', `there is no mark of a token ${id}`);
    return use;
  };
  return {
    byId: (id) => engine.read(() => read(id)),
    bind: (use, event) =>
      engine.write(() => read(use.id) ?? write({ ...use, serial: null, endedAt: null }, event)),
    settle: (id, serial, event) =>
      engine.write(() => {
        const use = existing(id);
        if (use.serial === serial) return use;
        if (use.serial !== null)
          throw new PkiError('CONFLICT', `the token already led to certificate ${use.serial}`);
        return write({ ...use, serial }, event);
      }),
    end: (id, now, event) =>
      engine.write(() => {
        const use = existing(id);
        return use.endedAt === null ? write({ ...use, endedAt: now }, event) : use;
      }),
    prune: prunes(engine, statements, dependencies),
  };
}

/** Reads a mark as the log has it, and writes one, inside the caller's transaction. */
const useRows = (
  { byId, put }: ReturnType<typeof tokenUseStatements>,
  { audit, guard }: Pick<TokenUseDependencies, 'audit' | 'guard'>,
) => ({
  read: (id: string): TokenUse | undefined => {
    const key = fromHexOrUndefined(id);
    const row = key === undefined ? undefined : byId.get({ id: key });
    return guard.requireRow('token-use', id, row === undefined ? undefined : toUse(row));
  },
  write: (use: TokenUse, event: AuditEvent): TokenUse => {
    put.run(toRow(use));
    audit(event, loggedObject('token-use', use));
    return use;
  },
});

const prunes =
  (
    engine: Engine,
    { expired, drop }: ReturnType<typeof tokenUseStatements>,
    { audit, guard, checkFence }: TokenUseDependencies,
  ): TokenUseStore['prune'] =>
  ({ expiredBefore: before, after }, limit, lease, event) =>
    engine.write(() => {
      checkFence(lease);
      let removed = 0;
      let last: TokenUse | undefined;
      const rows = expired.all({
        ...{ before, limit },
        after: after?.expiresAt ?? -1,
        id: after === undefined ? Buffer.alloc(0) : fromHex(after.id, 'the ID of the use'),
      });
      for (const row of rows) {
        const use = toUse(row);
        last = use;
        // a row that somebody made past the server is no mark that could be forgotten
        if (!guard.sameRow('token-use', use.id, use)) continue;
        drop.run({ id: row.id });
        audit(event(use), deletedObject('token-use', use.id));
        removed += 1;
      }
      return { removed, next: rows.length < limit ? undefined : last };
    });

function tokenUseStatements(engine: Engine) {
  return {
    byId: engine.statement<{ id: Uint8Array }>()((query, slot) =>
      query.selectFrom('token_uses').selectAll().where('id', '=', slot('id')),
    ),
    put: engine.statement<{ [Column in keyof TokenUseTable]: TokenUseTable[Column] }>()(
      (query, slot) => {
        const marks = { serial: slot('serial'), ended_at: slot('ended_at') };
        return query
          .insertInto('token_uses')
          .values({
            id: slot('id'),
            issuer: slot('issuer'),
            subject: slot('subject'),
            grantee: slot('grantee'),
            public_key_sha256: slot('public_key_sha256'),
            used_at: slot('used_at'),
            expires_at: slot('expires_at'),
            ...marks,
          })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(marks));
      },
    ),
    expired: engine.statement<{ before: number; after: number; id: Uint8Array; limit: number }>()(
      (query, slot) =>
        query
          .selectFrom('token_uses')
          .selectAll()
          .where('expires_at', '<', slot('before'))
          .where((has) =>
            has.or([
              has('expires_at', '>', slot('after')),
              has.and([has('expires_at', '=', slot('after')), has('id', '>', slot('id'))]),
            ]),
          )
          .orderBy('expires_at')
          .orderBy('id')
          .limit(slot('limit')),
    ),
    drop: engine.statement<{ id: Uint8Array }>()((query, slot) =>
      query.deleteFrom('token_uses').where('id', '=', slot('id')),
    ),
  };
}

const toRow = (use: TokenUse): TokenUseTable => ({
  id: fromHex(use.id, 'the ID of the use'),
  issuer: use.issuer,
  subject: use.subject,
  grantee: use.grantee,
  public_key_sha256:
    use.publicKeySha256 === ''
      ? Buffer.alloc(0)
      : fromHex(use.publicKeySha256, 'the digest of the public key'),
  used_at: use.usedAt,
  expires_at: use.expiresAt,
  serial: use.serial === null ? null : fromHex(use.serial, 'the serial'),
  ended_at: use.endedAt,
});

const toUse = (row: TokenUseTable): TokenUse => ({
  id: hex(row.id),
  issuer: row.issuer,
  subject: row.subject,
  grantee: row.grantee,
  publicKeySha256: hex(row.public_key_sha256),
  usedAt: row.used_at,
  expiresAt: row.expires_at,
  serial: hexOrNull(row.serial),
  endedAt: row.ended_at,
});

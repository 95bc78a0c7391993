import { PkiError } from '../../common/errors/index.ts';
import type { Lease, LeaseStore } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import type { Engine } from './engine.ts';

/**
 * Runs inside a transaction. Throws LEASE_LOST unless the fence is the present one and the lease
 * was not given to another holder.
 */
export type FenceCheck = (lease: Lease) => void;

type Row = Schema['leases'];

export function createLeases(engine: Engine): {
  readonly store: LeaseStore;
  readonly checkFence: FenceCheck;
} {
  const { byName, put } = leaseStatements(engine);
  const checkFence: FenceCheck = ({ name, fence }) => {
    const present = byName.get({ name })?.fence;
    if (present !== fence)
      throw new PkiError(
        'LEASE_LOST',
        `the lease ${name} is at fence ${present ?? 'none'}, not ${fence}`,
      );
  };
  const store = (row: Row): Lease => {
    put.run(row);
    return { name: row.name, holder: row.holder, fence: row.fence, expiresAtMs: row.expires_at_ms };
  };

  return {
    checkFence,
    store: {
      acquire: (name, holder, nowMs, lifeMs) =>
        engine.write(() => {
          const row = byName.get({ name });
          const expires = nowMs + lifeMs;
          if (row === undefined) return store({ name, holder, fence: 1, expires_at_ms: expires });
          if (row.holder === holder && row.expires_at_ms > nowMs)
            return store({ ...row, expires_at_ms: expires });
          if (row.expires_at_ms > nowMs) return undefined;
          return store({ name, holder, fence: row.fence + 1, expires_at_ms: expires });
        }),
      renew: (lease, nowMs, lifeMs) =>
        engine.write(() => {
          checkFence(lease);
          return store({
            name: lease.name,
            holder: lease.holder,
            fence: lease.fence,
            expires_at_ms: nowMs + lifeMs,
          });
        }),
      release: (lease) =>
        engine.write(() => {
          const row = byName.get({ name: lease.name });
          if (row?.fence === lease.fence && row.holder === lease.holder)
            store({ ...row, expires_at_ms: 0 });
        }),
    },
  };
}

function leaseStatements(engine: Engine) {
  return {
    byName: engine.statement<{ name: string }>()((query, slot) =>
      query.selectFrom('leases').selectAll().where('name', '=', slot('name')),
    ),
    put: engine.statement<{ [Column in keyof Row]: Row[Column] }>()((query, slot) =>
      query
        .insertInto('leases')
        .values({
          name: slot('name'),
          holder: slot('holder'),
          fence: slot('fence'),
          expires_at_ms: slot('expires_at_ms'),
        })
        .onConflict((conflict) =>
          conflict.column('name').doUpdateSet({
            holder: slot('holder'),
            fence: slot('fence'),
            expires_at_ms: slot('expires_at_ms'),
          }),
        ),
    ),
  };
}

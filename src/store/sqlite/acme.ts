import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { AcmeStore, LogGuard, NonceMark } from '../ports/index.ts';
import { createAcmeAccounts } from './acme-accounts.ts';
import { createAcmeOrders } from './acme-orders.ts';
import type { WriteAcme } from './acme-write.ts';
import type { AuditWriter } from './audit.ts';
import { createEabKeys } from './eab-keys.ts';
import type { Engine } from './engine.ts';
import { prunesExchanged } from './exchanged-keys.ts';
import type { FenceCheck } from './leases.ts';
import type { RightsCheck } from './rights.ts';
import { createTokenMarks } from './token-uses.ts';

interface AcmeDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly checkRights: RightsCheck;
  readonly clock: Clock;
}

export function createAcme(engine: Engine, dependencies: AcmeDependencies): AcmeStore {
  const { checkFence, checkRights, clock } = dependencies;
  const { use, prune } = nonceStatements(engine);
  const useNonce = ({ id, expiresAt }: NonceMark): void => {
    if (use.run({ id, expires_at: expiresAt }) === 0)
      throw new PkiError('ACME_NONCE_USED', 'the nonce was used before');
  };
  const markToken = createTokenMarks(engine, dependencies);
  const write: WriteAcme = ({ nonce, token, rights, signal }, work) =>
    engine.write(() => {
      if (nonce !== undefined) useNonce(nonce);
      if (token !== undefined) markToken(token);
      const [ended] = checkRights([rights], clock.now());
      if (ended !== undefined) throw new PkiError(ended.code, ended.message);
      work();
    }, signal);
  const eabKeys = createEabKeys(engine, { ...dependencies, write });
  return {
    eabKeys: {
      ...eabKeys.store,
      ends: (ids, now) =>
        engine.read(() =>
          checkRights(
            ids.map((id) => [{ kind: 'eab-key', id }]),
            now,
          ),
        ),
    },
    accounts: createAcmeAccounts(engine, { ...dependencies, write, bindKey: eabKeys.bind }),
    orders: createAcmeOrders(engine, { ...dependencies, write }),
    pruneExchanged: prunesExchanged(engine, dependencies),
    useNonce: (nonce) => engine.write(() => useNonce(nonce)),
    pruneNonces: (now, limit, lease) =>
      engine.write(() => {
        checkFence(lease);
        return prune.run({ now, limit });
      }),
  };
}

function nonceStatements(engine: Engine) {
  return {
    use: engine.statement<{ id: string; expires_at: number }>()((query, slot) =>
      query
        .insertInto('acme_nonces')
        .values({ id: slot('id'), expires_at: slot('expires_at') })
        .onConflict((conflict) => conflict.column('id').doNothing()),
    ),
    // Without an index on the expiry, since every request of ACME writes a mark: the table has the
    // marks of one life of a nonce, and a batch reads it once.
    prune: engine.statement<{ now: number; limit: number }>()((query, slot) =>
      query
        .deleteFrom('acme_nonces')
        .where('id', 'in', (expired) =>
          expired
            .selectFrom('acme_nonces')
            .select('id')
            .where('expires_at', '<=', slot('now'))
            .limit(slot('limit')),
        ),
    ),
  };
}

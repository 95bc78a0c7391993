import { tenantOfNames } from '../../domain/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { LedgerDelegations, ObjectLedger } from '../../ledger/index.ts';
import type { Access } from '../callers/access.ts';
import { namesDelegations } from '../issuing/active-delegations.ts';
import type { TokenNames } from './pipelines.ts';

export interface TokenNamesDependencies {
  readonly delegations: Pick<LedgerDelegations, 'activeFor'>;
  readonly objects: Pick<ObjectLedger, 'require'>;
  readonly access: Pick<Access, 'owners'>;
  readonly clock: Pick<Clock, 'now'>;
}

/** The names that the holder of this SPIFFE ID may have by an EAB key, for people. */
export async function tokenNames(
  spiffeId: string,
  { delegations, objects, access, clock }: TokenNamesDependencies,
): Promise<readonly TokenNames[]> {
  const rows = await delegations.activeFor(spiffeId, clock.now());
  const owner = tenantOfNames(access.owners, { spiffeId, dnsNames: [] });
  const tenant = owner.ok ? (owner.value?.name ?? '') : '';
  return namesDelegations(rows.map((row) => objects.require('delegation', row))).map(
    (delegation) => ({ delegation, tenant }),
  );
}

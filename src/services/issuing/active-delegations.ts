import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  isNamesProfile,
  type Delegation,
  type NamesProfile,
  type Proven,
} from '../../domain/index.ts';
import type { LedgerDelegations, ObjectLedger } from '../../ledger/index.ts';
import type { Caller, DelegateCaller } from '../callers/caller.ts';

export interface ActiveDelegationDependencies {
  readonly objects: Pick<ObjectLedger, 'require'>;
  readonly delegations: Pick<LedgerDelegations, 'activeFor' | 'compareSoon'>;
  readonly clock: Pick<Clock, 'now'>;
}

/** A delegation of names without an identity. */
export type NamesDelegation = Proven<Delegation> & { readonly profile: NamesProfile };

export const namesDelegations = (
  delegations: readonly Proven<Delegation>[],
): readonly NamesDelegation[] =>
  delegations.filter((each): each is NamesDelegation => isNamesProfile(each.profile));

/**
 * The delegations of a caller that stand now.
 *
 * @throws PkiError CALLER_NOT_ADMITTED, OBJECT_NOT_IN_LOG
 */
export async function activeDelegations(
  { objects, delegations, clock }: ActiveDelegationDependencies,
  caller: DelegateCaller,
): Promise<readonly Proven<Delegation>[]> {
  const actual = caller as Caller;
  if (actual.class !== 'delegate' || actual.kind !== 'workload')
    throw new PkiError(
      'CALLER_NOT_ADMITTED',
      `only delegates may do this, not ${actual.class} callers`,
    );
  const active = await delegations.activeFor(caller.spiffeId, clock.now());
  if (active.length === 0) {
    delegations.compareSoon();
    throw new PkiError('CALLER_NOT_ADMITTED', `${caller.spiffeId} has no active delegation`);
  }
  return active.map((delegation) => objects.require('delegation', delegation));
}

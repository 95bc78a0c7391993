import { PkiError } from '../../common/errors/index.ts';
import { isNamesAuthority, isRootKind, type Authority } from '../../domain/index.ts';
import type { RotationState } from '../../issuance/index.ts';
import type { LedgerRotations } from '../../ledger/index.ts';
import type { CompromisePlan } from '../services.ts';

type Consumers = Awaited<ReturnType<LedgerRotations['consumers']>>;

/**
 * What follows from a compromise of this authority. A CRL stops a stolen intermediate only at
 * consumers that check CRLs. If any consumer does not, or can not tell, its root is replaced as
 * well. `root`: the root of an intermediate.
 */
export function compromisePlanOf(
  authority: Authority,
  root: Authority | undefined,
  state: RotationState,
  known: Consumers,
): CompromisePlan {
  if (root?.token === 'external')
    throw new PkiError(
      'INVALID_REQUEST',
      'the root is not ours: the CA that holds its key must replace it',
      {
        next: 'Taint the intermediate (meshca authority taint), and import one under another root.',
      },
    );
  // whoever relies on names is unknown: nobody tells that it checks CRLs
  const consumers = isNamesAuthority(authority.kind)
    ? []
    : known.filter(({ kind }) => kind !== 'agent');
  // count only consumers that say so to this server: a database row may have been altered
  const enforcing = consumers.filter(
    ({ capabilities, heardAt }) => heardAt !== undefined && capabilities.includes('enforces-crl'),
  ).length;
  const factsOf = (id: string) => state.observation.facts.find((fact) => fact.authority.id === id);
  const unreported = factsOf((root ?? authority).id)?.liveUnreported ?? 0;
  const taintedRoot =
    root !== undefined && (enforcing < consumers.length || unreported > 0) ? root : undefined;
  const counted = factsOf((taintedRoot ?? authority).id);
  return {
    tainted: [authority.id, ...(taintedRoot === undefined ? [] : [taintedRoot.id])],
    replacesRoot: isRootKind(authority.kind) || taintedRoot !== undefined,
    consumersEnforcingCrl: enforcing,
    consumers: consumers.length,
    live: counted?.live ?? 0,
    liveUnreported: counted?.liveUnreported ?? 0,
    exposedUntil: counted?.lastExpiry ?? 0,
    state,
  };
}

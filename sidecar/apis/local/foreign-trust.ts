import type { ForeignTrust } from '../../../src/common/wire/generated/meshca/agent/v1/ForeignTrust.ts';
import type { TrustBundle } from '../../ports/bundles.ts';
import { namedTrustDomains } from '../../ports/granted-bundles.ts';
import type { Identity } from '../../ports/entries.ts';

export interface ForeignTrustDependencies {
  readonly foreign: {
    federated(): ReadonlyMap<string, TrustBundle>;
    /** Why the newest bundle of a trust domain was not taken, by its name. */
    federatedProblems(): ReadonlyMap<string, string>;
  };
}

/** Why a caller with these identities has the bundle of each foreign trust domain, or lacks it. */
export function foreignTrustOf(
  { foreign }: ForeignTrustDependencies,
  identities: readonly Identity[],
): readonly ForeignTrust[] {
  const held = foreign.federated();
  const problems = foreign.federatedProblems();
  const named = namedTrustDomains(identities);
  const others = [...held.keys()].filter((name) => !named.includes(name)).sort();
  return [...named, ...others].map((name): ForeignTrust => {
    const bundle = held.get(name);
    const entryIds = identities
      .filter(({ entry }) => entry.federatesWith.includes(name))
      .map(({ entry }) => entry.id);
    const granted = bundle !== undefined && entryIds.length > 0;
    return {
      trustDomain: name,
      granted,
      entryIds,
      sequence: bundle?.sequence ?? 0,
      x509Authorities: bundle?.rootsDer.length ?? 0,
      jwtAuthorities: bundle === undefined ? 0 : keysOf(bundle),
      reason: reasonOf({ named: entryIds.length > 0, held: granted }, problems.get(name)),
    };
  });
}

function reasonOf(
  { named, held }: { readonly named: boolean; readonly held: boolean },
  problem: string | undefined,
): string {
  if (!named) return 'no entry of it names this trust domain in federatesWith';
  if (problem !== undefined)
    return `the newest bundle is not taken: ${problem}${held ? '; the one before stays' : ''}`;
  return held
    ? ''
    : 'the server has sent no bundle: it has no relationship with this trust domain, or has ' +
        'accepted none of its bundles yet (meshca federation list)';
}

const keysOf = ({ jwksJson }: TrustBundle): number =>
  (JSON.parse(jwksJson) as { readonly keys?: readonly unknown[] }).keys?.length ?? 0;

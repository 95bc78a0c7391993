import type { TrustBundle } from './bundles.ts';
import type { Identity } from './entries.ts';

/** The bundles that one caller may have. */
export interface GrantedBundles {
  readonly own: TrustBundle;
  /** Those of foreign trust domains, by name, in the order of the names. */
  readonly federated: ReadonlyMap<string, TrustBundle>;
}

/**
 * Pure. A caller gets the bundle of each foreign trust domain that an entry of any of its identities
 * names, as far as it is held, and never one that claims the own trust domain.
 */
export function grantedBundles(
  identities: readonly Identity[],
  own: TrustBundle,
  held: ReadonlyMap<string, TrustBundle>,
): GrantedBundles {
  const federated = new Map<string, TrustBundle>();
  for (const name of namedTrustDomains(identities)) {
    const bundle = held.get(name);
    if (bundle !== undefined && !bundle.trustDomain.equals(own.trustDomain))
      federated.set(name, bundle);
  }
  return { own, federated };
}

/** The names of foreign trust domains in the entries of these identities, each once, in order. */
export const namedTrustDomains = (identities: readonly Identity[]): readonly string[] =>
  [...new Set(identities.flatMap(({ entry }) => entry.federatesWith))].sort();

import type { TrustDomain } from '../../common/spiffe/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { KnownKeys } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { ForeignBundles } from './foreign-bundles.ts';

/** The keys of our own authorities, and of every foreign bundle. */
export async function knownKeys({
  authorities,
  foreign,
  trustDomain,
}: {
  readonly authorities: Pick<Authorities, 'all'>;
  readonly foreign: Pick<ForeignBundles, 'shared'>;
  readonly trustDomain: TrustDomain;
}): Promise<KnownKeys> {
  const owners = new Map<string, string>();
  for (const { trustDomain: name, keys } of (await foreign.shared()).values())
    for (const key of keys) owners.set(key, name);
  for (const { spkiDer } of authorities.all())
    if (spkiDer !== null) owners.set(sha256Hex(spkiDer), trustDomain.name);
  return { ownerOf: (spkiSha256) => owners.get(spkiSha256) };
}

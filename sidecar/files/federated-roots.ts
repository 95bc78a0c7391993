import { createHash } from 'node:crypto';
import { setDigest } from '../../src/common/x509/index.ts';
import { nobodysAuthority } from '../bundle/index.ts';
import type { BundleSource } from '../ports/bundles.ts';
import type { Identity } from '../ports/entries.ts';
import { grantedBundles } from '../ports/granted-bundles.ts';
import type { SetLayout } from './target.ts';

/** The roots (DER) in the file of each foreign trust domain, by its name. */
export type FederatedRoots = ReadonlyMap<string, readonly Buffer[]>;

/**
 * What the files of foreign trust domains are to hold for an identity. Each file that the layout
 * names is there: a server does not start without a file that its configuration names. Where no
 * bundle is granted, the file trusts nobody.
 */
export function federatedRootsOf(
  { federated: files }: Pick<SetLayout, 'federated'>,
  identity: Identity | undefined,
  bundles: Pick<BundleSource, 'current' | 'federated'>,
): FederatedRoots {
  const own = bundles.current();
  const granted =
    own === undefined || identity === undefined
      ? undefined
      : grantedBundles([identity], own, bundles.federated()).federated;
  return new Map(
    Object.keys(files).map((name) => {
      const roots = granted?.get(name)?.rootsDer ?? [];
      return [name, roots.length === 0 ? [nobodysAuthority()] : roots];
    }),
  );
}

/** Hex. Empty: the layout has no such files. */
export function federatedDigest(roots: FederatedRoots): string {
  if (roots.size === 0) return '';
  const hash = createHash('sha256');
  for (const [name, rootsDer] of [...roots].sort(([one], [other]) => (one < other ? -1 : 1)))
    hash.update(`${name} ${setDigest(rootsDer).toString('hex')} `);
  return hash.digest('hex');
}

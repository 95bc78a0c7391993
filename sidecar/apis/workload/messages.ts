import { workloadContract } from '../../../src/common/wire/index.ts';
import { setDigest } from '../../../src/common/x509/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';
import type { HeldX509Svid } from '../../ports/svids.ts';

/**
 * Encoded messages, so that one encoding serves many streams. The keys of maps are the SPIFFE IDs
 * of trust domains.
 */
export interface Messages {
  /** @param withIssuers the caller asks for the issuing authorities of the server */
  x509Svids(svids: readonly HeldX509Svid[], own: TrustBundle, withIssuers: boolean): Buffer;
  x509Bundles(own: TrustBundle): Buffer;
  jwtBundles(own: TrustBundle): Buffer;
  /** Changes with the roots of any trust domain and with the CRLs. */
  rootsVersion(own: TrustBundle): string;
  jwtVersion(own: TrustBundle): string;
}

export function createMessages(bundles: BundleSource, generation: () => number): Messages {
  const { service } = workloadContract().packages.SpiffeWorkloadAPI;
  const all = (own: TrustBundle): readonly TrustBundle[] => [
    own,
    ...[...bundles.federated().values()].filter(
      (each) => !each.trustDomain.equals(own.trustDomain),
    ),
  ];
  const cached = <T>(make: (own: TrustBundle) => T): ((own: TrustBundle) => T) =>
    perGeneration(generation, make);
  const roots = joinedRoots();
  const federated = cached((own) => byTrustDomain(all(own).slice(1), roots));

  return {
    x509Svids: (svids, own, withIssuers) =>
      service.FetchX509SVID.responseSerialize({
        svids: withUniqueHints(svids, (svid, hint) => ({
          spiffeId: svid.identity.spiffeId.toString(),
          x509Svid: Buffer.concat(svid.chainDer),
          x509SvidKey: svid.privateKeyPkcs8Der,
          bundle: roots(own),
          hint,
        })),
        crl: [...bundles.crls()],
        federatedBundles: federated(own),
        meshcaIssuers: withIssuers
          ? own.issuersSha256.map((digest) => Buffer.from(digest, 'hex'))
          : [],
      }),
    x509Bundles: cached((own) =>
      service.FetchX509Bundles.responseSerialize({
        crl: [...bundles.crls()],
        bundles: byTrustDomain(all(own), roots),
      }),
    ),
    jwtBundles: cached((own) =>
      service.FetchJWTBundles.responseSerialize({
        bundles: byTrustDomain(all(own), (each) => Buffer.from(each.jwksJson)),
      }),
    ),
    rootsVersion: cached((own) => {
      const crls = bundles.crls();
      const digest = crls.length === 0 ? '' : setDigest(crls).toString('hex');
      return `${versions(all(own), (each) => each.authoritySetDigest.toString('hex'))}|${digest}`;
    }),
    jwtVersion: cached((own) => versions(all(own), (each) => each.jwksJson)),
  };
}

/** Keeps one value until the bundles change. */
function perGeneration<T>(
  generation: () => number,
  make: (own: TrustBundle) => T,
): (own: TrustBundle) => T {
  let kept:
    | { readonly generation: number; readonly own: TrustBundle; readonly value: T }
    | undefined;
  return (own) => {
    if (kept === undefined || kept.generation !== generation() || kept.own !== own)
      kept = { generation: generation(), own, value: make(own) };
    return kept.value;
  };
}

/** Concatenates the roots of each bundle once for all messages. */
function joinedRoots(): (bundle: TrustBundle) => Buffer {
  const joined = new WeakMap<TrustBundle, Buffer>();
  return (bundle) => {
    const known = joined.get(bundle);
    if (known !== undefined) return known;
    const roots = Buffer.concat(bundle.rootsDer);
    joined.set(bundle, roots);
    return roots;
  };
}

const byTrustDomain = (
  bundles: readonly TrustBundle[],
  value: (bundle: TrustBundle) => Buffer,
): Record<string, Buffer> =>
  Object.fromEntries(bundles.map((each) => [each.trustDomain.id, value(each)]));

const versions = (
  bundles: readonly TrustBundle[],
  version: (bundle: TrustBundle) => string,
): string =>
  bundles
    .map((each) => `${each.trustDomain.name}=${version(each)}`)
    .sort()
    .join(',');

/**
 * A hint must be unique in a response. The first SVID with a hint keeps it: the one of the older
 * entry.
 */
function withUniqueHints<T>(
  svids: readonly HeldX509Svid[],
  encode: (svid: HeldX509Svid, hint: string) => T,
): T[] {
  const seen = new Set<string>();
  return svids.map((svid) => {
    const { hint } = svid.identity.entry;
    const unique = hint === '' || !seen.has(hint);
    seen.add(hint);
    return encode(svid, unique ? hint : '');
  });
}

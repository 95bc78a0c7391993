import { workloadContract } from '../../src/common/wire/index.ts';
import { setDigest } from '../../src/common/x509/index.ts';
import type { X509SVIDResponse } from '../../src/common/wire/generated/X509SVIDResponse.ts';
import type { BundleSource, TrustBundle } from '../ports/bundles.ts';
import type { HeldX509Svid } from '../ports/svids.ts';

/**
 * Messages as bytes, so that one encoding serves many streams. Maps are keyed by the SPIFFE ID of
 * the trust domain.
 */
export interface Messages {
  x509Svids(svids: readonly HeldX509Svid[], own: TrustBundle): Buffer;
  x509Bundles(own: TrustBundle): Buffer;
  jwtBundles(own: TrustBundle): Buffer;
  /** Differs when the set of roots of any trust domain, or of CRLs, differs. */
  rootsVersion(own: TrustBundle): string;
  jwtVersion(own: TrustBundle): string;
}

export function createMessages(bundles: BundleSource, generation: () => number): Messages {
  const { service } = workloadContract().packages.SpiffeWorkloadAPI;
  const rooted = new WeakMap<TrustBundle, Buffer>();
  const roots = (bundle: TrustBundle): Buffer => {
    let joined = rooted.get(bundle);
    if (joined === undefined) {
      joined = Buffer.concat(bundle.rootsDer);
      rooted.set(bundle, joined);
    }
    return joined;
  };
  const all = (own: TrustBundle): readonly TrustBundle[] => [
    own,
    ...[...bundles.federated().values()].filter(
      (each) => !each.trustDomain.equals(own.trustDomain),
    ),
  ];

  /** Keeps one value until the bundles change. */
  const cached = <T>(make: (own: TrustBundle) => T): ((own: TrustBundle) => T) => {
    let kept:
      | { readonly generation: number; readonly own: TrustBundle; readonly value: T }
      | undefined;
    return (own) => {
      if (kept === undefined || kept.generation !== generation() || kept.own !== own)
        kept = { generation: generation(), own, value: make(own) };
      return kept.value;
    };
  };
  const federated = cached((own) =>
    Object.fromEntries(
      all(own)
        .slice(1)
        .map((each) => [each.trustDomain.id, roots(each)]),
    ),
  );

  return {
    x509Svids(svids, own) {
      const seen = new Set<string>();
      const message: X509SVIDResponse = {
        svids: svids.map((svid) => {
          // hints must be unique in a response: the first, which is the older entry's, keeps it
          const { hint } = svid.identity.entry;
          const unique = hint === '' || !seen.has(hint);
          seen.add(hint);
          return {
            spiffeId: svid.identity.spiffeId.toString(),
            x509Svid: Buffer.concat(svid.chainDer),
            x509SvidKey: svid.privateKeyPkcs8Der,
            bundle: roots(own),
            hint: unique ? hint : '',
          };
        }),
        crl: [...bundles.crls()],
        federatedBundles: federated(own),
      };
      return service.FetchX509SVID.responseSerialize(message);
    },
    x509Bundles: cached((own) =>
      service.FetchX509Bundles.responseSerialize({
        crl: [...bundles.crls()],
        bundles: Object.fromEntries(all(own).map((each) => [each.trustDomain.id, roots(each)])),
      }),
    ),
    jwtBundles: cached((own) =>
      service.FetchJWTBundles.responseSerialize({
        bundles: Object.fromEntries(
          all(own).map((each) => [each.trustDomain.id, Buffer.from(each.jwksJson)]),
        ),
      }),
    ),
    rootsVersion: cached(
      (own) =>
        `${all(own)
          .map((each) => `${each.trustDomain.name}=${each.authoritySetDigest.toString('hex')}`)
          .sort()
          .join(
            ',',
          )}|${bundles.crls().length === 0 ? '' : setDigest(bundles.crls()).toString('hex')}`,
    ),
    jwtVersion: cached((own) =>
      all(own)
        .map((each) => `${each.trustDomain.name}=${each.jwksJson}`)
        .sort()
        .join(','),
    ),
  };
}

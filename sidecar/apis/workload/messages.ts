import { workloadContract } from '../../../src/common/wire/index.ts';
import { setDigest } from '../../../src/common/x509/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';
import type { GrantedBundles } from '../../ports/granted-bundles.ts';
import type { HeldX509Svid } from '../../ports/svids.ts';

/**
 * Encoded messages, so that one encoding serves many streams that may have the same bundles. The keys
 * of maps are the SPIFFE IDs of trust domains.
 */
export interface Messages {
  x509Svids(svids: readonly HeldX509Svid[], granted: GrantedBundles, reader: Reader): WithCrls;
  x509Bundles(granted: GrantedBundles, reader: Pick<Reader, 'largestMessage'>): WithCrls;
  jwtBundles(granted: GrantedBundles): Buffer;
  /** Changes with the roots of any of these trust domains and with the CRLs. */
  rootsVersion(granted: GrantedBundles): string;
  jwtVersion(granted: GrantedBundles): string;
}

export interface Reader {
  /** It asks for the issuing authorities of the server. */
  readonly withIssuers: boolean;
  /** In bytes. A client refuses a larger message and all that is in it. */
  readonly largestMessage: number;
}

export interface WithCrls {
  readonly bytes: Buffer;
  /** The message would be too large with the CRLs. A part of them would be worth nothing. */
  readonly crlsLeftOut: boolean;
}

export function createMessages(bundles: BundleSource, generation: () => number): Messages {
  const { service } = workloadContract().packages.SpiffeWorkloadAPI;
  const all = ({ own, federated }: GrantedBundles): readonly TrustBundle[] => [
    own,
    ...federated.values(),
  ];
  const cached: Cached = (make) => perGeneration(generation, make);
  const roots = joinedRoots();
  const federatedRoots = cached(({ federated }) => byTrustDomain([...federated.values()], roots));
  const svidCrls = cached(() =>
    service.FetchX509SVID.responseSerialize({ crl: [...bundles.crls()] }),
  );

  return {
    x509Svids: (svids, granted, { withIssuers, largestMessage }) => {
      const { own } = granted;
      const alone = service.FetchX509SVID.responseSerialize({
        svids: withUniqueHints(svids, (svid, hint) => ({
          spiffeId: svid.identity.spiffeId.toString(),
          x509Svid: Buffer.concat(svid.chainDer),
          x509SvidKey: svid.privateKeyPkcs8Der,
          bundle: roots(own),
          hint,
        })),
        federatedBundles: federatedRoots(granted),
        meshcaIssuers: withIssuers
          ? own.issuersSha256.map((digest) => Buffer.from(digest, 'hex'))
          : [],
      });
      const crls = svidCrls(granted);
      return alone.length + crls.length > largestMessage
        ? { bytes: alone, crlsLeftOut: crls.length > 0 }
        : { bytes: joined(alone, crls), crlsLeftOut: false };
    },
    x509Bundles: x509BundleMessages(bundles, cached, (granted) =>
      byTrustDomain(all(granted), roots),
    ),
    jwtBundles: cached((granted) =>
      service.FetchJWTBundles.responseSerialize({
        bundles: byTrustDomain(all(granted), (each) => Buffer.from(each.jwksJson)),
      }),
    ),
    rootsVersion: cached((granted) => {
      const crls = bundles.crls();
      const digest = crls.length === 0 ? '' : setDigest(crls).toString('hex');
      return `${versions(all(granted), (each) => each.authoritySetDigest.toString('hex'))}|${digest}`;
    }),
    jwtVersion: cached((granted) => versions(all(granted), (each) => each.jwksJson)),
  };
}

type Cached = <T>(make: (granted: GrantedBundles) => T) => (granted: GrantedBundles) => T;

function x509BundleMessages(
  bundles: Pick<BundleSource, 'crls'>,
  cached: Cached,
  rootsOf: (granted: GrantedBundles) => Record<string, Buffer>,
): Messages['x509Bundles'] {
  const { responseSerialize } =
    workloadContract().packages.SpiffeWorkloadAPI.service.FetchX509Bundles;
  const bundlesAlone = cached((granted) => responseSerialize({ bundles: rootsOf(granted) }));
  const bundlesAndCrls = cached((granted) =>
    joined(bundlesAlone(granted), responseSerialize({ crl: [...bundles.crls()] })),
  );
  return (granted, { largestMessage }) => {
    const [alone, whole] = [bundlesAlone(granted), bundlesAndCrls(granted)];
    return whole.length > largestMessage
      ? { bytes: alone, crlsLeftOut: whole.length > alone.length }
      : { bytes: whole, crlsLeftOut: false };
  };
}

/** Two parts of one message, one after the other, are that message (Protocol Buffers, encoding). */
const joined = (one: Buffer, other: Buffer): Buffer =>
  other.length === 0 ? one : Buffer.concat([one, other]);

/** Sets of foreign trust domains that entries of one node name together. Beyond it: made anew. */
const maximumSets = 64;

/** Keeps one value for each set of trust domains until the bundles change. */
function perGeneration<T>(
  generation: () => number,
  make: (granted: GrantedBundles) => T,
): (granted: GrantedBundles) => T {
  let known: { readonly generation: number; readonly own: TrustBundle } | undefined;
  const values = new Map<string, T>();
  return (granted) => {
    const { own, federated } = granted;
    if (known === undefined || known.generation !== generation() || known.own !== own) {
      known = { generation: generation(), own };
      values.clear();
    }
    const key = [...federated.keys()].join(' ');
    const kept = values.get(key);
    if (kept !== undefined) return kept;
    if (values.size >= maximumSets) values.clear();
    const value = make(granted);
    values.set(key, value);
    return value;
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

import { workloadContract } from '../../../src/common/wire/index.ts';
import { setDigest } from '../../../src/common/x509/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';
import type { HeldX509Svid } from '../../ports/svids.ts';

/**
 * Encoded messages, so that one encoding serves many streams. The keys of maps are the SPIFFE IDs
 * of trust domains.
 */
export interface Messages {
  x509Svids(svids: readonly HeldX509Svid[], own: TrustBundle, reader: Reader): WithCrls;
  x509Bundles(own: TrustBundle, reader: Pick<Reader, 'largestMessage'>): WithCrls;
  jwtBundles(own: TrustBundle): Buffer;
  /** Changes with the roots of any trust domain and with the CRLs. */
  rootsVersion(own: TrustBundle): string;
  jwtVersion(own: TrustBundle): string;
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
  const svidCrls = cached(() =>
    service.FetchX509SVID.responseSerialize({ crl: [...bundles.crls()] }),
  );

  return {
    x509Svids: (svids, own, { withIssuers, largestMessage }) => {
      const alone = service.FetchX509SVID.responseSerialize({
        svids: withUniqueHints(svids, (svid, hint) => ({
          spiffeId: svid.identity.spiffeId.toString(),
          x509Svid: Buffer.concat(svid.chainDer),
          x509SvidKey: svid.privateKeyPkcs8Der,
          bundle: roots(own),
          hint,
        })),
        federatedBundles: federated(own),
        meshcaIssuers: withIssuers
          ? own.issuersSha256.map((digest) => Buffer.from(digest, 'hex'))
          : [],
      });
      const crls = svidCrls(own);
      return alone.length + crls.length > largestMessage
        ? { bytes: alone, crlsLeftOut: crls.length > 0 }
        : { bytes: joined(alone, crls), crlsLeftOut: false };
    },
    x509Bundles: x509BundleMessages(bundles, cached, (own) => byTrustDomain(all(own), roots)),
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

type Cached = <T>(make: (own: TrustBundle) => T) => (own: TrustBundle) => T;

function x509BundleMessages(
  bundles: Pick<BundleSource, 'crls'>,
  cached: Cached,
  rootsOf: (own: TrustBundle) => Record<string, Buffer>,
): Messages['x509Bundles'] {
  const { responseSerialize } =
    workloadContract().packages.SpiffeWorkloadAPI.service.FetchX509Bundles;
  const bundlesAlone = cached((own) => responseSerialize({ bundles: rootsOf(own) }));
  const bundlesAndCrls = cached((own) =>
    joined(bundlesAlone(own), responseSerialize({ crl: [...bundles.crls()] })),
  );
  return (own, { largestMessage }) => {
    const [alone, whole] = [bundlesAlone(own), bundlesAndCrls(own)];
    return whole.length > largestMessage
      ? { bytes: alone, crlsLeftOut: whole.length > alone.length }
      : { bytes: whole, crlsLeftOut: false };
  };
}

/** Two parts of one message, one after the other, are that message (Protocol Buffers, encoding). */
const joined = (one: Buffer, other: Buffer): Buffer =>
  other.length === 0 ? one : Buffer.concat([one, other]);

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

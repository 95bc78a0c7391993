import { createPrivateKey, type KeyObject } from 'node:crypto';
import { PkiError, unwrap } from '../common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../common/spiffe/index.ts';
import {
  parseCrl,
  spkiOf,
  splitDer,
  type ServerIssuers,
  verifyX509Svid,
  type ParsedCertificate,
  type ParsedCrl,
} from '../common/x509/index.ts';
import type { X509SVID__Output } from '../common/wire/generated/X509SVID.ts';
import type { X509SVIDResponse__Output } from '../common/wire/generated/X509SVIDResponse.ts';

/** An identity of this workload, checked on receipt. */
export interface X509Svid {
  readonly id: SpiffeId;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly leaf: ParsedCertificate;
  readonly privateKey: KeyObject;
  readonly hint: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** Unix seconds, both inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** The roots (DER) of each trust domain that this workload may talk to, by name. */
export type X509Bundles = ReadonlyMap<string, readonly Buffer[]>;

export interface X509Update {
  /** Never empty; the first is the default. */
  readonly svids: readonly X509Svid[];
  readonly bundles: X509Bundles;
  /** The readable CRLs of the workload's own trust domain. */
  readonly crls: readonly ParsedCrl[];
  readonly reservedIds: (trustDomainName: string) => ReservedIdRule;
}

/** When an ID below `/meshca/` of a trust domain is believed. */
export interface ReservedIdRule {
  readonly issuers: ServerIssuers;
  /** Whether it is believed below a root that marks nobody, where nothing is proven. */
  readonly unprovenAdmitted: boolean;
}

/**
 * Reads a message of FetchX509SVID and checks everything that can be checked here, since an
 * identity with a wrong key, name or chain would only fail in handshakes with peers. Throws
 * SVID_INVALID, CHAIN_UNTRUSTED, CERTIFICATE_MALFORMED or CERTIFICATE_EXPIRED; then use nothing of
 * the message.
 */
export function readX509Update(message: X509SVIDResponse__Output, now: number): X509Update {
  if (message.svids.length === 0)
    throw new PkiError('SVID_INVALID', 'the update has no X.509-SVID');
  const bundles = new Map<string, readonly Buffer[]>();
  for (const [name, roots] of Object.entries(message.federatedBundles))
    bundles.set(unwrap(TrustDomain.parse(name)).name, unwrap(splitDer(roots)));
  // after the federated bundles, so that none of them can set the roots of the workload's own trust
  // domain
  for (const svid of message.svids)
    bundles.set(
      unwrap(SpiffeId.parse(svid.spiffeId)).trustDomain.name,
      unwrap(splitDer(svid.bundle)),
    );
  return {
    svids: message.svids.map((svid) => readSvid(svid, bundles, now)),
    bundles,
    crls: readCrls(message.crl),
    reservedIds: readIssuers(message),
  };
}

/**
 * The agent names the issuing authorities of its own server. For other trust domains, and from an
 * agent that names none, the mark of the root says who stands above those IDs. Another trust domain
 * may give those IDs to anybody, so that below its unmarked root they mean nothing here.
 */
function readIssuers({
  svids,
  meshcaIssuers,
}: X509SVIDResponse__Output): X509Update['reservedIds'] {
  const byMark: ServerIssuers = { kind: 'mark' };
  const known: ServerIssuers =
    meshcaIssuers.length === 0
      ? byMark
      : {
          kind: 'keys',
          sha256Hex: new Set(meshcaIssuers.map((digest) => digest.toString('hex'))),
        };
  const own = new Set(
    svids.map(({ spiffeId }) => unwrap(SpiffeId.parse(spiffeId)).trustDomain.name),
  );
  return (name) =>
    own.has(name)
      ? { issuers: known, unprovenAdmitted: false }
      : { issuers: byMark, unprovenAdmitted: true };
}

/**
 * Leaves out a CRL that can't be read. A source that enforces CRLs then admits no peer whom that
 * CRL covers.
 */
const readCrls = (crls: readonly Buffer[]): readonly ParsedCrl[] =>
  crls.flatMap((der) => {
    const crl = parseCrl(der);
    return crl.ok ? [crl.value] : [];
  });

function readSvid(svid: X509SVID__Output, bundles: X509Bundles, now: number): X509Svid {
  const id = unwrap(SpiffeId.parse(svid.spiffeId));
  const chainDer = unwrap(splitDer(svid.x509Svid));
  const verified = unwrap(verifyX509Svid({ chainDer, bundle: (name) => bundles.get(name), now }));
  if (!verified.id.equals(id))
    throw new PkiError(
      'SVID_INVALID',
      `the update names the identity ${id}, but its certificate is for ${verified.id}`,
    );
  const privateKey = readKey(svid.x509SvidKey, id);
  if (!spkiOf(privateKey).equals(verified.leaf.spkiDer))
    throw new PkiError(
      'SVID_INVALID',
      `the private key of ${id} does not belong to its certificate`,
    );
  const { leaf } = verified;
  return {
    id,
    chainDer,
    leaf,
    privateKey,
    hint: svid.hint,
    serial: leaf.serialHex,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

function readKey(der: Buffer, id: SpiffeId): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw new PkiError('SVID_INVALID', `the private key of ${id} is not PKCS #8`, { cause });
  }
}

import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { keyTypes, sha256Hex, type ParsedCertificate } from '../../common/x509/index.ts';
import {
  buildLeafTbs,
  newSerial,
  parseCsr,
  subjectProblem,
  type InformationAccess,
  type ParsedCsr,
} from '../../certs/index.ts';
import {
  isRevocable,
  maximumLifeOf,
  isNamesProfile,
  reservationOf,
  reservationReached,
  reservedText,
  subjectText,
  type AssignedShard,
  type Authority,
  type NamesProfile,
  type ReservedDnsName,
} from '../../domain/index.ts';
import { cutDetail, issuerEnded, issuerNotBegun } from '../issuer-end.ts';
import type { LeafRequest } from '../issuer.ts';
import type { Admission } from '../policy.ts';
import { signerOf, type CertificateDraft } from '../certificate-draft.ts';

/** A request with its parsed CSR. Only the public key of the CSR is used. */
export interface ReadRequest {
  readonly request: LeafRequest;
  readonly csr: ParsedCsr;
  readonly publicKeySha256: string;
  readonly admission: Admission;
}

/** What preparation needs of an issuing authority. */
export interface IssuerView {
  readonly authority: Authority;
  readonly certificate: ParsedCertificate;
}

export interface PrepareOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** How far a leaf's notBefore lies in the past, for peers with a slow clock. */
  readonly leafBackdateSeconds: number;
  readonly minimumTtlSeconds: number;
  /**
   * Puts a revocable leaf into a shard of the CRLs of its authority; undefined: no CRL is
   * published. The place is taken until it is given back.
   */
  readonly assignShard: (authorityId: string) => AssignedShard | undefined;
  /** Gives back the place of a leaf that was surely never signed. */
  readonly giveBackShard: (authorityId: string, shard: number) => void;
  /** URL of the certificate of an authority, for leaves of names; undefined: none is published. */
  readonly issuerUrl: (authorityId: string) => string | undefined;
  /** URL of the OCSP responder of an authority, for revocable leaves of names; undefined: none. */
  readonly ocspUrl: (authorityId: string) => string | undefined;
  /** True for the key of any present or past authority. */
  readonly isAuthorityKey: (publicKeySha256: string) => boolean;
  /** What only the server's own certificates, and those of Linkerd's proxies, may contain. */
  readonly reservedDnsNames: readonly ReservedDnsName[];
}

/** Judges the request and its CSR as far as possible without the issuer. */
export function readCsr(
  request: LeafRequest,
  { isAuthorityKey, reservedDnsNames }: Pick<PrepareOptions, 'isAuthorityKey' | 'reservedDnsNames'>,
): Result<Omit<ReadRequest, 'admission'>> {
  const reserved = reservedNameOf(request, reservedDnsNames);
  if (reserved !== undefined) return fail('DNS_NAME_RESERVED', reserved);
  const parsed = request.csr === undefined ? parseCsr(request.csrDer) : ok(request.csr);
  if (!parsed.ok) return parsed;
  const csr = parsed.value;
  const allowed = request.keyTypes ?? keyTypes;
  if (!allowed.includes(csr.keyType))
    return fail(
      'KEY_UNSUPPORTED',
      `a key of type ${csr.keyType} is not allowed here; allowed: ${allowed.join(', ')}`,
    );
  if (request.kind === 'endpoint' && csr.wantsTlsFeature)
    return fail(
      'CSR_EXTENSION_REFUSED',
      'the request asks for the TLS feature extension (OCSP must-staple), which no certificate here has',
    );
  const named = subjectProblem(csr, request.subject);
  if (named !== undefined)
    return fail('CSR_IDENTITY_MISMATCH', named, {
      ...(request.kind === 'endpoint' && {
        next: 'Ask for each name that the request states, or make the request without it.',
      }),
    });
  const publicKeySha256 = sha256Hex(csr.spkiDer);
  if (isAuthorityKey(publicKeySha256))
    return fail('KEY_RESERVED', 'the public key in the request is the key of an authority');
  return ok({ request, csr, publicKeySha256 });
}

/**
 * Why a DNS name of the request is reserved. This is checked at each issuance: an entry or a
 * delegation may be older than the reservation. A proxy of Linkerd has no name that is not reserved
 * for proxies, and never one of the server's own.
 */
function reservedNameOf(
  { kind, subject: { dnsNames } }: LeafRequest,
  reserved: readonly ReservedDnsName[],
): string | undefined {
  if (kind === 'server' || dnsNames.length === 0) return undefined;
  const ofProxies = reserved.filter((each) => each.startsWith('*.'));
  const refusing =
    kind === 'linkerd' ? reserved.filter((each) => !ofProxies.includes(each)) : reserved;
  for (const name of dnsNames) {
    const reservation = reservationReached(name, refusing);
    if (reservation !== undefined) return reservedText(name, reservation);
    if (kind === 'linkerd' && reservationOf(name, ofProxies) === undefined)
      return `${name} is no name of a proxy of a configured control plane of Linkerd`;
  }
  return undefined;
}

/** Checks the lifetime and builds the TBSCertificate. Pure, except for serial and clock. */
export function draftLeaf(
  { request, csr, publicKeySha256, admission }: ReadRequest,
  issuer: IssuerView,
  now: number,
  options: PrepareOptions,
): Result<CertificateDraft> {
  const { authority } = issuer;
  const lifetime = validity(request, issuer, now, options);
  if (!lifetime.ok) return lifetime;
  const life = lifetime.value;
  const { profile, subject } = request;
  const assigned = isRevocable(profile) ? options.assignShard(authority.id) : undefined;
  if (isRevocable(profile) && assigned === undefined) return noPlaceOfRevocation(profile);
  const expected = {
    serial: newSerial(options.clock.nowMs(), options.random),
    issuer: issuer.certificate,
    spkiDer: csr.spkiDer,
    subject,
    ...life,
    ...(assigned === undefined ? {} : { crlUrl: assigned.url }),
    ...(isNamesProfile(profile) ? { access: accessOf(profile, authority.id, options) } : {}),
  };
  return ok({
    tbsDer: buildLeafTbs({ ...expected, profile }),
    profile,
    expected,
    signer: signerOf(authority),
    proof: csr.proof,
    admission,
    record: { ...recordOf(request), publicKeySha256 },
    rights: request.rights,
    issuedAs: {
      kind: 'certificate.issued',
      subject: subjectText(subject),
      detail: {
        ...request.reason,
        ...cutDetail(request.ttlSeconds, life.notAfter - now),
        ...(assigned?.isNew === true ? { crlUrl: assigned.url } : {}),
      },
    },
    shard: assigned?.shard ?? 0,
  });
}

const noPlaceOfRevocation = (profile: string): Result<never> =>
  fail(
    'INVALID_REQUEST',
    `a certificate of the profile ${profile} is revocable, and this server has no CRL distribution point`,
    {
      next: 'Set issuance.crlBaseUrl, or use a profile without revocation: short-lived, or short for names.',
    },
  );

/** Under noRevAvail there is no responder to name (RFC 9608 section 2). */
function accessOf(
  profile: NamesProfile,
  authorityId: string,
  { issuerUrl, ocspUrl }: PrepareOptions,
): InformationAccess {
  const issuer = issuerUrl(authorityId);
  const responder = isRevocable(profile) ? ocspUrl(authorityId) : undefined;
  return {
    ...(issuer === undefined ? {} : { issuerUrl: issuer }),
    ...(responder === undefined ? {} : { ocspUrl: responder }),
  };
}

const recordOf = ({
  kind,
  profile,
  entryId,
  delegationId,
  caller,
  holder,
  requestId,
  replaces,
}: LeafRequest): Omit<CertificateDraft['record'], 'publicKeySha256'> => ({
  kind,
  profile,
  entryId,
  delegationId,
  requester: caller.name,
  holder,
  requestId,
  replaces,
});

function validity(
  request: LeafRequest,
  { authority, certificate: issuer }: IssuerView,
  now: number,
  options: PrepareOptions,
): Result<{ readonly notBefore: number; readonly notAfter: number }> {
  if (now >= issuer.notAfter) return { ok: false, error: issuerEnded(authority) };
  if (now < issuer.notBefore) return { ok: false, error: issuerNotBegun(authority, now) };
  const { ttlSeconds } = request;
  if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < options.minimumTtlSeconds) {
    return fail(
      'TTL_OUT_OF_RANGE',
      `a lifetime of ${ttlSeconds} s is below the minimum of ${options.minimumTtlSeconds} s`,
    );
  }
  const notBefore = Math.max(now - options.leafBackdateSeconds, issuer.notBefore);
  const maximum = maximumLifeOf(request.profile);
  if (maximum !== undefined && ttlSeconds > maximum) {
    return fail(
      'TTL_OUT_OF_RANGE',
      `a lifetime of ${ttlSeconds} s is above ${maximum} s, the maximum of the ${request.profile} profile`,
    );
  }
  const notAfter = now + ttlSeconds;
  // whoever asks for names takes what is left: an ACME client could not ask again with less
  const isCut = request.endsWithIssuer === true || request.kind === 'endpoint';
  if (notAfter > issuer.notAfter && !isCut) {
    const left = issuer.notAfter - now;
    return fail(
      'ISSUER_LIFETIME',
      `a lifetime of ${ttlSeconds} s ends ${notAfter - issuer.notAfter} s after the issuing authority`,
      {
        next: `Ask for at most ${left} s, or let the lifetime be chosen: it then ends with the issuing authority.`,
      },
    );
  }
  return ok({ notBefore, notAfter: Math.min(notAfter, issuer.notAfter) });
}

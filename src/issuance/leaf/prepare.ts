import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { keyTypes, sha256Hex, type ParsedCertificate } from '../../common/x509/index.ts';
import {
  buildLeafTbs,
  newSerial,
  parseCsr,
  subjectProblem,
  type ParsedCsr,
} from '../../certs/index.ts';
import {
  reservationOf,
  reservedText,
  shortLivedMaximumSeconds,
  subjectText,
  type Authority,
  type ReservedDnsName,
} from '../../domain/index.ts';
import { cutDetail, issuerEnded, issuerNotBegun } from '../issuer-end.ts';
import type { LeafRequest } from '../issuer.ts';
import type { Admission } from '../policy.ts';
import { signerOf, type CertificateDraft } from '../recorded.ts';

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
  /** URL of the CRL of an authority, for revocable leaves; undefined: no CRL is published. */
  readonly crlUrl: (authorityId: string) => string | undefined;
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
  const parsed = parseCsr(request.csrDer);
  if (!parsed.ok) return parsed;
  const csr = parsed.value;
  const allowed = request.keyTypes ?? keyTypes;
  if (!allowed.includes(csr.keyType))
    return fail(
      'KEY_UNSUPPORTED',
      `a key of type ${csr.keyType} is not allowed here; allowed: ${allowed.join(', ')}`,
    );
  const named = subjectProblem(csr, request.subject);
  if (named !== undefined) return fail('CSR_IDENTITY_MISMATCH', named);
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
  if (kind === 'server') return undefined;
  const ofProxies = reserved.filter((each) => each.startsWith('*.'));
  const refusing =
    kind === 'linkerd' ? reserved.filter((each) => !ofProxies.includes(each)) : reserved;
  for (const name of dnsNames) {
    const reservation = reservationOf(name, refusing);
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
  const crlUrl = request.profile === 'revocable' ? options.crlUrl(authority.id) : undefined;
  if (request.profile === 'revocable' && crlUrl === undefined) {
    return fail(
      'INVALID_REQUEST',
      'the entry asks for a revocable certificate, and this server has no CRL distribution point',
      { next: 'Set issuance.crlBaseUrl, or let the entry use the short-lived profile.' },
    );
  }
  const { profile, subject } = request;
  const expected = {
    serial: newSerial(options.clock.nowMs(), options.random),
    issuer: issuer.certificate,
    spkiDer: csr.spkiDer,
    subject,
    ...life,
    ...(crlUrl === undefined ? {} : { crlUrl }),
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
      detail: { ...request.reason, ...cutDetail(request.ttlSeconds, life.notAfter - now) },
    },
  });
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
  if (request.profile !== 'revocable' && ttlSeconds > shortLivedMaximumSeconds) {
    return fail(
      'TTL_OUT_OF_RANGE',
      `a lifetime of ${ttlSeconds} s is above ${shortLivedMaximumSeconds} s, the maximum of the short-lived profile`,
    );
  }
  const notAfter = now + ttlSeconds;
  if (notAfter > issuer.notAfter && request.endsWithIssuer !== true) {
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

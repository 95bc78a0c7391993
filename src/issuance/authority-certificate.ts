import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock, Random } from '../common/runtime/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import {
  sha256Hex,
  verifyChain,
  type KeyType,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import {
  authorityIdentity,
  buildAuthorityTbs,
  newSerial,
  readTwice,
  type AuthorityProfile,
} from '../certs/index.ts';
import type { Intent, NameClaim, Requester, Rights } from '../domain/index.ts';
import type { IssuedAs } from './certificate-events.ts';
import { admit, type Admission, type IssuancePolicy } from './policy.ts';
import type { CertificateDraft } from './certificate-draft.ts';
import type { RecordedIssuance, SigningStep } from './recorded.ts';

export interface AuthorityCertificateDependencies {
  readonly recorded: RecordedIssuance;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
}

/** A request for the certificate of an authority, ours or another CA's. */
export interface AuthorityCertificateRequest {
  readonly admission: Admission;
  readonly profile: AuthorityProfile;
  /** True for an authority of names. */
  readonly names?: boolean;
  /** The certificate of the signing authority; undefined for a self-signed certificate. */
  readonly issuer: ParsedCertificate | undefined;
  readonly signer: CertificateDraft['signer'];
  readonly spkiDer: Buffer;
  /** DER of the Name to certify, and whether that root has the mark; set for `cross` only. */
  readonly subjectDer?: Buffer;
  readonly subjectMarked?: boolean;
  readonly crlUrl?: string;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly record: Pick<Intent, 'requester' | 'holder' | 'requestId' | 'entryId'>;
  readonly rights: Rights;
  readonly issuedAs: IssuedAs;
}

export interface AuthorityCertificate {
  readonly certificateDer: Buffer;
  readonly sha256: string;
  /** Hex. */
  readonly serial: string;
}

/**
 * Issues the certificate of an authority through the recorded issuance. Two independent readers
 * must agree on the content before it is recorded. The signed certificate is verified with the key
 * of its issuer.
 *
 * @throws the error of the token, the code of the right that ended, or LINT_FAILED
 */
export async function issueAuthorityCertificate(
  request: AuthorityCertificateRequest,
  signing: Pick<SigningStep, 'sign' | 'wanted'>,
  dependencies: AuthorityCertificateDependencies,
): Promise<AuthorityCertificate> {
  const { recorded } = dependencies;
  const draft = draftAuthority(request, dependencies);
  unwrap(await readTwice(draft.tbsDer));
  const prepared = unwrap(recorded.prepare(draft));
  const [outcome] = await recorded.run([prepared], signing);
  if (outcome?.ok !== true)
    throw outcome?.error ?? new PkiError('INTERNAL', 'the issuance returned no outcome');
  const { certificateDer, sha256 } = outcome;
  return { certificateDer, sha256, serial: prepared.intent.serial };
}

/**
 * Asks the policy about the certificate of an authority.
 *
 * @throws PkiError POLICY_DENIED
 */
export function admitAuthority(
  caller: Requester,
  request: {
    readonly profile: AuthorityProfile;
    readonly keyType: KeyType;
    readonly ttlSeconds?: number | undefined;
    readonly entryId?: string;
    readonly claim?: NameClaim;
  },
  {
    issuancePolicy,
    trustDomain,
  }: { readonly issuancePolicy: IssuancePolicy; readonly trustDomain: TrustDomain },
): Admission {
  return unwrap(
    admit(
      issuancePolicy,
      {
        type: 'x509',
        kind: 'authority',
        subject: authorityIdentity(trustDomain),
        profile: request.profile,
        keyType: request.keyType,
        ttlSeconds: request.ttlSeconds,
        entryId: request.entryId ?? null,
        delegationId: null,
        claim: request.claim,
      },
      caller,
    ),
  );
}

function draftAuthority(
  request: AuthorityCertificateRequest,
  { trustDomain, clock, random }: AuthorityCertificateDependencies,
): CertificateDraft {
  const { profile, issuer, signer, spkiDer, notBefore, notAfter } = request;
  const { subjectDer, subjectMarked, crlUrl, names } = request;
  const expected = {
    serial: newSerial(clock.nowMs(), random),
    issuer,
    spkiDer,
    notBefore,
    notAfter,
    ...(subjectDer === undefined ? {} : { subjectDer }),
    ...(subjectMarked === undefined ? {} : { subjectMarked }),
    ...(crlUrl === undefined ? {} : { crlUrl }),
    ...(names === undefined ? {} : { names }),
  };
  return {
    tbsDer: buildAuthorityTbs({ ...expected, profile, trustDomain }),
    profile,
    expected: { ...expected, subject: authorityIdentity(trustDomain) },
    admission: request.admission,
    signer,
    record: {
      ...request.record,
      kind: 'authority',
      profile: 'authority',
      delegationId: null,
      replaces: null,
      publicKeySha256: sha256Hex(spkiDer),
    },
    rights: request.rights,
    issuedAs: request.issuedAs,
    shard: 0,
    verify: (certificateDer) =>
      verifyChain({
        chainDer: [certificateDer],
        roots: [issuer?.raw ?? certificateDer],
        now: clock.now(),
        ...(names === true ? { purpose: 'server' as const } : {}),
      }),
  };
}

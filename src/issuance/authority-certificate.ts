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
import type { Intent, Requester, Rights } from '../domain/index.ts';
import type { IssuedAs } from './certificate-events.ts';
import { admit, type Admission, type IssuancePolicy } from './policy.ts';
import type { CertificateDraft, RecordedIssuance, SigningStep } from './recorded.ts';

export interface AuthorityCertificateDependencies {
  readonly recorded: RecordedIssuance;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
}

/** A certificate of an authority, ours or another's. */
export interface AuthorityCertificateRequest {
  readonly admission: Admission;
  readonly profile: AuthorityProfile;
  /** The certificate of the authority that signs; undefined: self-signed. */
  readonly issuer: ParsedCertificate | undefined;
  readonly signer: CertificateDraft['signer'];
  readonly spkiDer: Buffer;
  /** The Name that is certified; for `cross` alone. */
  readonly subjectDer?: Buffer;
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
 * Issues the certificate of an authority by the recorded way. Two readers must agree on what it
 * says before it is recorded; the signed certificate is verified under its issuer.
 * Throws what the token threw, the code of the right that ended, LINT_FAILED.
 */
export async function issueAuthorityCertificate(
  request: AuthorityCertificateRequest,
  signing: Pick<SigningStep, 'sign'>,
  dependencies: AuthorityCertificateDependencies,
): Promise<AuthorityCertificate> {
  const { recorded } = dependencies;
  const draft = draftAuthority(request, dependencies);
  unwrap(await readTwice(draft.tbsDer));
  const prepared = unwrap(recorded.prepare(draft));
  const [outcome] = await recorded.run([prepared], signing);
  if (outcome?.ok !== true)
    throw outcome?.error ?? new PkiError('INTERNAL', 'issuance gave no outcome');
  const { certificateDer, sha256 } = outcome;
  return { certificateDer, sha256, serial: prepared.intent.serial };
}

/** Asks the policy about the certificate of an authority. Throws POLICY_DENIED. */
export function admitAuthority(
  caller: Requester,
  asked: {
    readonly profile: AuthorityProfile;
    readonly keyType: KeyType;
    readonly ttlSeconds?: number | undefined;
    readonly entryId?: string;
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
        profile: asked.profile,
        keyType: asked.keyType,
        ttlSeconds: asked.ttlSeconds,
        entryId: asked.entryId ?? null,
        delegationId: null,
      },
      caller,
    ),
  );
}

function draftAuthority(
  request: AuthorityCertificateRequest,
  { trustDomain, clock, random }: AuthorityCertificateDependencies,
): CertificateDraft {
  const { profile, issuer, signer, spkiDer, notBefore, notAfter, subjectDer, crlUrl } = request;
  const wanted = {
    serial: newSerial(clock.nowMs(), random),
    issuer,
    spkiDer,
    notBefore,
    notAfter,
    ...(subjectDer === undefined ? {} : { subjectDer }),
    ...(crlUrl === undefined ? {} : { crlUrl }),
  };
  return {
    tbsDer: buildAuthorityTbs({ ...wanted, profile, trustDomain }),
    profile,
    expected: { ...wanted, subject: authorityIdentity(trustDomain) },
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
    verify: (certificateDer) =>
      verifyChain({
        chainDer: [certificateDer],
        roots: [issuer?.raw ?? certificateDer],
        now: clock.now(),
      }),
  };
}

import { fail, PkiError, unwrap, type Result } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, type ParsedCertificate } from '../../common/x509/index.ts';
import {
  authorityIdentity,
  buildOcspSignerTbs,
  newSerial,
  ocspSignerProblem,
  ocspSignerSubject,
} from '../../certs/index.ts';
import { serverRequester, type Authority, type AuthorityState } from '../../domain/index.ts';
import type { Signers } from '../../hsm/signing-port.ts';
import { admit, type IssuancePolicy } from '../policy.ts';
import type { CertificateDraft } from '../certificate-draft.ts';
import type { RecordedIssuance } from '../recorded.ts';
import { isSignedWith } from './signature.ts';

export interface SignerCertificateDependencies {
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly signers: Pick<Signers, 'sign'>;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  readonly clockSkewSeconds: number;
  /** Life of the certificate of a signer. */
  readonly signerLifeSeconds: number;
}

/** The states of an authority in which somebody may answer for its leaves. */
const certifyingStates: readonly AuthorityState[] = ['active', 'old', 'tainted'];

/**
 * Certifies the key of a signer of OCSP answers, by the authority whose leaves it answers for, in
 * the one recorded way.
 *
 * @throws the error of the token, the code of the right that ended, or LINT_FAILED
 */
export async function certifyOcspSigner(
  issuing: Authority,
  keyed: Authority,
  dependencies: SignerCertificateDependencies,
): Promise<void> {
  const { recorded, signers } = dependencies;
  const prepared = unwrap(recorded.prepare(draftSigner(issuing, keyed, dependencies)));
  const [outcome] = await recorded.run([prepared], { sign: (items) => signers.sign(items) });
  if (outcome?.ok !== true)
    throw outcome?.error ?? new PkiError('INTERNAL', 'the issuance returned no outcome');
}

function draftSigner(
  issuing: Authority,
  keyed: Authority,
  dependencies: SignerCertificateDependencies,
): CertificateDraft {
  const { issuancePolicy, trustDomain, clock, random } = dependencies;
  const issuer = unwrap(parseCertificate(issuing.certificateDer as Buffer));
  const spkiDer = keyed.spkiDer as Buffer;
  const subject = authorityIdentity(trustDomain);
  const now = clock.now();
  const expected = {
    serial: newSerial(clock.nowMs(), random),
    issuer,
    spkiDer,
    notBefore: Math.max(now - dependencies.clockSkewSeconds, issuer.notBefore),
    notAfter: Math.min(now + dependencies.signerLifeSeconds, issuer.notAfter),
  };
  const { keyType } = keyed;
  const request = { type: 'x509', kind: 'authority', subject, profile: 'ocsp-signer' } as const;
  const noOne = { ttlSeconds: undefined, entryId: null, delegationId: null };
  return {
    tbsDer: buildOcspSignerTbs({ ...expected, trustDomain }),
    profile: 'ocsp-signer',
    expected: { ...expected, subject, subjectDer: ocspSignerSubject(trustDomain, spkiDer) },
    admission: unwrap(admit(issuancePolicy, { ...request, keyType, ...noOne }, serverRequester)),
    signer: {
      authorityId: issuing.id,
      ckaId: issuing.ckaId,
      keyType: issuing.keyType,
      states: certifyingStates,
    },
    record: {
      kind: 'authority',
      profile: 'ocsp-signer',
      entryId: null,
      delegationId: null,
      requester: serverRequester.name,
      holder: serverRequester.name,
      publicKeySha256: sha256Hex(spkiDer),
      requestId: uuidv7(clock.nowMs()),
      replaces: null,
    },
    rights: [{ kind: 'authority', id: keyed.id, states: ['active'] }],
    issuedAs: {
      kind: 'ocsp.certified',
      subject: keyed.id,
      detail: { signerFor: issuing.id },
    },
    shard: 0,
    verify: (certificateDer) => checkOcspSigner(certificateDer, issuer),
  };
}

/**
 * The certificate of a signer, if it may answer for the leaves of this issuer and was signed by it.
 * Fails with CERTIFICATE_MALFORMED or CHAIN_UNTRUSTED. Times are not looked at.
 */
export function checkOcspSigner(
  certificateDer: Buffer,
  issuer: ParsedCertificate,
): Result<ParsedCertificate> {
  const signer = parseCertificate(certificateDer);
  if (!signer.ok) return signer;
  const { tbsDer, signature } = signer.value;
  const problem =
    ocspSignerProblem(signer.value, issuer) ??
    (isSignedWith(issuer, tbsDer, signature) ? undefined : 'the signature on it is wrong');
  return problem === undefined ? signer : fail('CHAIN_UNTRUSTED', problem);
}

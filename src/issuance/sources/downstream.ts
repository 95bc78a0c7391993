import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import { sha256Hex, verifyChain, type KeyType } from '../../common/x509/index.ts';
import { parseCsr } from '../../certs/index.ts';
import type { Authority, AuditValue, Requester, Rights, TokenRole } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import { checkProof } from '../../hsm/proof.ts';
import type { IssuanceStore } from '../../store/ports/index.ts';
import { admitAuthority, issueAuthorityCertificate } from '../authority-certificate.ts';
import type { IssuancePolicy } from '../policy.ts';
import { signerOf } from '../certificate-draft.ts';
import type { RecordedIssuance } from '../recorded.ts';
import { authoritySigner } from '../token-signer.ts';
import { authoritiesAbove, downstreamIssuer, downstreamLife } from './downstream-issuer.ts';

export interface DownstreamDependencies {
  /**
   * Authorities that the log vouches for. An authority that was changed past the server certifies
   * nobody.
   */
  readonly authorities: { list(): Promise<readonly Authority[]> };
  /** Also true for keys of authorities without a certificate, whose CSRs others have seen. */
  readonly isAuthorityKey?: (publicKeySha256: string) => boolean;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly issuance: Pick<IssuanceStore, 'findRequest'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  /** URL of the CRL of an authority; undefined: no CRL is published. */
  readonly crlUrl?: (authorityId: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export interface DownstreamRequest {
  readonly caller: Requester;
  readonly requestId: string;
  readonly csrDer: Buffer;
  /** Default: the newest active root whose key is ours. */
  readonly issuerId?: string;
  /** undefined: as long as `grant.maximumLifeSeconds` and the authorities above allow. */
  readonly lifeSeconds?: number;
  readonly grant?: DownstreamGrant;
  /** If it is aborted before the intent is durable, nothing is recorded or signed (CANCELLED). */
  readonly signal?: AbortSignal | undefined;
}

/** The grant of a workload whose entry makes it a downstream CA. Absent if an operator asks. */
export interface DownstreamGrant {
  readonly entryId: string;
  /** That of the entry. */
  readonly spiffeId: string;
  /** The agent through which the workload has its SVID. */
  readonly holder: string;
  /** Checked again in the transaction that releases. */
  readonly rights: Rights;
  readonly maximumLifeSeconds: number;
  /** SHA-256 of the key of its SVID. A CA must have another key. */
  readonly ownKeySha256: string;
  /** Whether a recorded answer may be returned again. */
  readonly repeatable: (serial: string) => boolean;
  /** For the audit record. */
  readonly reason: Readonly<Record<string, AuditValue>>;
}

export interface DownstreamAuthority {
  readonly serial: string;
  /** The authority that signed the certificate. */
  readonly authorityId: string;
  readonly notAfter: number;
  /** The certificate and the authorities above it, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly rootDer: Buffer;
}

/**
 * Issues an intermediate with pathLen 0 for another CA of this trust domain. That CA can sign every
 * identity in the trust domain. The signer is a root of ours, or an authority whose pathLen leaves
 * room (else AUTHORITY_UNFIT). The certificate is recorded before it is released, like any other.
 * Only the key of the CSR is used.
 *
 * @throws PkiError CSR_*, KEY_*, NO_ISSUER, CONFLICT, AUTHORITY_UNFIT, ISSUER_LIFETIME, HSM_*
 */
export async function signDownstream(
  request: DownstreamRequest,
  dependencies: DownstreamDependencies,
): Promise<DownstreamAuthority> {
  const { caller, requestId, grant, lifeSeconds, signal } = request;
  const { clock, clockSkewSeconds, crlUrl, openToken } = dependencies;
  const all = await dependencies.authorities.list();
  const issuer = downstreamIssuer(request.issuerId, all);
  const { spkiDer, keyType } = keyOf(request, all, dependencies);
  const admission = admitAuthority(
    caller,
    {
      profile: 'downstream',
      keyType,
      ttlSeconds: lifeSeconds,
      ...(grant === undefined
        ? {}
        : {
            entryId: grant.entryId,
            claim: { by: 'spiffe-id' as const, id: grant.spiffeId },
          }),
    },
    dependencies,
  );
  const repeated = await repeatedAnswer(request, spkiDer, all, dependencies);
  if (repeated !== undefined) return repeated;
  const life = downstreamLife(
    { lifeSeconds, maximumLifeSeconds: grant?.maximumLifeSeconds, clockSkewSeconds },
    issuer,
    clock.now(),
  );
  const { authority, certificate } = issuer;
  const url = crlUrl?.(authority.id);
  const issued = await issueAuthorityCertificate(
    {
      admission,
      profile: 'downstream',
      issuer: certificate,
      signer: signerOf(authority),
      spkiDer,
      ...life,
      ...(url === undefined ? {} : { crlUrl: url }),
      record: {
        requester: caller.name,
        holder: grant?.holder ?? caller.name,
        requestId,
        entryId: grant?.entryId ?? null,
      },
      rights: grant?.rights ?? [],
      issuedAs: {
        kind: 'authority.downstream',
        subject: dependencies.trustDomain.id,
        detail: grant?.reason ?? {},
      },
    },
    authoritySigner(authority, openToken, signal),
    dependencies,
  );
  return answer({ ...issued, notAfter: life.notAfter }, authority, all);
}

/**
 * The key in the CSR, after its proof of possession was checked.
 *
 * @throws PkiError CSR_*; KEY_RESERVED for the key of an authority here, or of the caller's SVID
 */
function keyOf(
  { csrDer, grant }: DownstreamRequest,
  all: readonly Authority[],
  { trustDomain, isAuthorityKey }: DownstreamDependencies,
): { readonly spkiDer: Buffer; readonly keyType: KeyType } {
  const { spkiDer, keyType, proof, uriSans, dnsSans, otherSanKinds } = unwrap(parseCsr(csrDer));
  unwrap(checkProof(proof));
  const otherName = uriSans.find((uri) => uri !== trustDomain.id) ?? dnsSans[0] ?? otherSanKinds[0];
  if (otherName !== undefined)
    throw new PkiError(
      'CSR_IDENTITY_MISMATCH',
      `the CSR asks for ${otherName}: the only name of a downstream authority is ${trustDomain.id}`,
    );
  const sha256 = sha256Hex(spkiDer);
  if (
    isAuthorityKey?.(sha256) === true ||
    all.some((authority) => authority.spkiDer?.equals(spkiDer))
  )
    throw new PkiError(
      'KEY_RESERVED',
      'the key in the CSR is the key of an authority of this server',
    );
  if (grant?.ownKeySha256 === sha256)
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is the key of the SVID of the caller');
  return { spkiDer, keyType };
}

/**
 * The recorded certificate of a request whose answer was lost. It is returned only if the
 * certificate, its signing authority and the grant are unchanged. An operator gets a new
 * certificate each time.
 */
async function repeatedAnswer(
  { caller, requestId, grant }: DownstreamRequest,
  spkiDer: Buffer,
  all: readonly Authority[],
  { issuance, clock }: DownstreamDependencies,
): Promise<DownstreamAuthority | undefined> {
  if (grant === undefined) return undefined;
  const record = await issuance.findRequest(caller.name, requestId, sha256Hex(spkiDer));
  const now = clock.now();
  if (
    record === undefined ||
    record.certificateDer === null ||
    record.kind !== 'authority' ||
    record.entryId !== grant.entryId ||
    record.notAfter <= now ||
    !grant.repeatable(record.serial)
  )
    return undefined;
  const { certificateDer, serial, notAfter } = record;
  const issuer = all.find(({ id }) => id === record.authorityId);
  if (issuer === undefined || issuer.certificateDer === null || issuer.state !== 'active')
    return undefined;
  const verified = verifyChain({
    chainDer: [certificateDer],
    roots: [issuer.certificateDer],
    now,
  });
  return verified.ok ? answer({ serial, notAfter, certificateDer }, issuer, all) : undefined;
}

function answer(
  {
    serial,
    notAfter,
    certificateDer,
  }: { readonly serial: string; readonly notAfter: number; readonly certificateDer: Buffer },
  issuer: Authority,
  all: readonly Authority[],
): DownstreamAuthority {
  const line = [issuer, ...authoritiesAbove(issuer, all)];
  const root = line.at(-1) as Authority;
  return {
    serial,
    authorityId: issuer.id,
    notAfter,
    chainDer: [
      certificateDer,
      ...line
        .filter((authority) => authority.kind === 'issuing')
        .map((authority) => authority.certificateDer as Buffer),
    ],
    rootDer: root.certificateDer as Buffer,
  };
}

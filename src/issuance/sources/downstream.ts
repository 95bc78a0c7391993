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
import { signerOf, type RecordedIssuance } from '../recorded.ts';
import { authoritySigner } from '../token-signer.ts';
import { authoritiesAbove, downstreamIssuer, downstreamLife } from './downstream-issuer.ts';

export interface DownstreamDependencies {
  /** As the log has them: what was changed past the server certifies nobody. */
  readonly authorities: { list(): Promise<readonly Authority[]> };
  /** Also of those without a certificate, whose CSRs others have seen. */
  readonly isAuthorityKey?: (publicKeySha256: string) => boolean;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly issuance: Pick<IssuanceStore, 'findRequest'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  /** Where the CRL of an authority is found; undefined: nowhere. */
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
}

/** Of a workload whose entry makes it a downstream CA; absent where an operator asks. */
export interface DownstreamGrant {
  readonly entryId: string;
  /** The agent through which it has its SVID. */
  readonly holder: string;
  /** Re-checked in the transaction that releases. */
  readonly rights: Rights;
  readonly maximumLifeSeconds: number;
  /** Of its SVID: a CA has a key of its own. */
  readonly ownKeySha256: string;
  /** Whether a recorded answer may be given again. */
  readonly repeatable: (serial: string) => boolean;
  /** For the audit record. */
  readonly reason: Readonly<Record<string, AuditValue>>;
}

export interface DownstreamAuthority {
  readonly serial: string;
  /** The authority that signed the certificate. */
  readonly authorityId: string;
  readonly notAfter: number;
  /** The certificate, and what is above it without the root. */
  readonly chainDer: readonly Buffer[];
  readonly rootDer: Buffer;
}

/**
 * An intermediate for another CA of this trust domain, pathLen 0: it can sign every identity in it.
 * Signed by a root of ours, or by an authority whose pathLen leaves room (AUTHORITY_UNFIT
 * otherwise). Recorded before it is released like any other certificate. Of the CSR only the key is
 * used. Throws CSR_*, KEY_*, NO_ISSUER, CONFLICT, AUTHORITY_UNFIT, ISSUER_LIFETIME, HSM_*.
 */
export async function signDownstream(
  request: DownstreamRequest,
  dependencies: DownstreamDependencies,
): Promise<DownstreamAuthority> {
  const { caller, requestId, grant, lifeSeconds } = request;
  const { clock, clockSkewSeconds, crlUrl, openToken } = dependencies;
  const all = await dependencies.authorities.list();
  const issuer = downstreamIssuer(request.issuerId, all);
  const { spkiDer, keyType } = keyOf(request, all, dependencies);
  const admission = admitAuthority(
    caller,
    {
      profile: 'intermediate',
      keyType,
      ttlSeconds: lifeSeconds,
      ...(grant === undefined ? {} : { entryId: grant.entryId }),
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
      profile: 'intermediate',
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
    authoritySigner(authority, openToken),
    dependencies,
  );
  return answer({ ...issued, notAfter: life.notAfter }, authority, all);
}

/**
 * The key in the CSR, with its proof checked. Throws CSR_*, KEY_RESERVED for the key of an
 * authority here and for that of the caller's SVID.
 */
function keyOf(
  { csrDer, grant }: DownstreamRequest,
  all: readonly Authority[],
  { trustDomain, isAuthorityKey }: DownstreamDependencies,
): { readonly spkiDer: Buffer; readonly keyType: KeyType } {
  const { spkiDer, keyType, proof, uriSans, dnsSans, otherSanKinds } = unwrap(parseCsr(csrDer));
  unwrap(checkProof(proof));
  const asked = uriSans.find((uri) => uri !== trustDomain.id) ?? dnsSans[0] ?? otherSanKinds[0];
  if (asked !== undefined)
    throw new PkiError(
      'CSR_IDENTITY_MISMATCH',
      `the CSR asks for ${asked}: a downstream authority has the name ${trustDomain.id} and no other`,
    );
  const sha256 = sha256Hex(spkiDer);
  if (isAuthorityKey?.(sha256) === true || all.some((each) => each.spkiDer?.equals(spkiDer)))
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of an authority here');
  if (grant?.ownKeySha256 === sha256)
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of the SVID of the caller');
  return { spkiDer, keyType };
}

/**
 * The certificate of the same request, whose answer was lost: only while it, the authority that
 * signed it and the grant are what they were. An operator gets a new one each time.
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
        .filter((each) => each.kind === 'issuing')
        .map((each) => each.certificateDer as Buffer),
    ],
    rootDer: root.certificateDer as Buffer,
  };
}

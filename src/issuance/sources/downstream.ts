import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import {
  parseCertificate,
  sha256Hex,
  verifyChain,
  type ParsedCertificate,
} from '../../common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, lint, newSerial, parseCsr } from '../../certs/index.ts';
import {
  hasOwnKey,
  type Authority,
  type AuditValue,
  type CertificateRecord,
  type Intent,
  type Rights,
  type TokenRole,
} from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/contract.ts';
import { checkProof } from '../../hsm/proof.ts';
import type { IssuanceStore } from '../../store/ports/index.ts';

export interface DownstreamDependencies {
  /** As the log has them: what was changed past the server certifies nobody. */
  readonly authorities: { list(): Promise<readonly Authority[]> };
  /** Also of those without a certificate, whose CSRs others have seen. */
  readonly isAuthorityKey?: (publicKeySha256: string) => boolean;
  readonly issuance: Pick<IssuanceStore, 'recordIntents' | 'finish' | 'findRequest'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  /** Where the CRL of an authority is found; undefined: nowhere. */
  readonly crlUrl?: (authorityId: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export interface DownstreamRequest {
  readonly actor: string;
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
  readonly rights: Omit<Rights, 'authorityId'>;
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
  /** Who signed it. */
  readonly authorityId: string;
  readonly notAfter: number;
  /** Its certificate, and what is above it without the root. */
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
  const { trustDomain, clock, random, issuance } = dependencies;
  const all = await dependencies.authorities.list();
  const issuerOf = issuerFor(request.issuerId, all);
  const issuer = unwrap(parseCertificate(issuerOf.certificateDer as Buffer));
  if (issuer.pathLength !== undefined && issuer.pathLength < 1) {
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `authority ${issuerOf.id} has pathLen ${issuer.pathLength}: nothing but leaves may be below it`,
      { next: 'Let a root sign, or an authority with pathLen 1 or more.' },
    );
  }
  const csr = unwrap(parseCsr(request.csrDer));
  unwrap(checkProof(csr.proof));
  const asked =
    csr.uriSans.find((uri) => uri !== trustDomain.id) ?? csr.dnsSans[0] ?? csr.otherSanKinds[0];
  if (asked !== undefined)
    throw new PkiError(
      'CSR_IDENTITY_MISMATCH',
      `the CSR asks for ${asked}: a downstream authority has the name ${trustDomain.id} and no other`,
    );
  const publicKeySha256 = sha256Hex(csr.spkiDer);
  if (
    dependencies.isAuthorityKey?.(publicKeySha256) === true ||
    all.some((each) => each.spkiDer?.equals(csr.spkiDer) === true)
  )
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of an authority here');
  if (request.grant?.ownKeySha256 === publicKeySha256)
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of the SVID of the caller');
  const repeated =
    request.grant === undefined
      ? undefined
      : recorded(
          await issuance.findRequest(request.actor, request.requestId, publicKeySha256),
          request.grant,
          clock.now(),
          all,
        );
  if (repeated !== undefined) return repeated;
  const above = ancestry(issuerOf, all);
  const { notBefore, notAfter } = lifeOf(request, [issuerOf, ...above], issuer, dependencies);

  const serial = newSerial(clock.nowMs(), random);
  const crlUrl = dependencies.crlUrl?.(issuerOf.id);
  const wanted = {
    issuer,
    spkiDer: csr.spkiDer,
    notBefore,
    notAfter,
    ...(crlUrl === undefined ? {} : { crlUrl }),
  };
  const tbsDer = buildAuthorityTbs({ ...wanted, serial, profile: 'intermediate', trustDomain });
  unwrap(lint(tbsDer, 'intermediate', { ...wanted, spiffeId: SpiffeId.of(trustDomain.id) }));
  const serialHex = serial.toString('hex');
  const intent: Intent = {
    serial: serialHex,
    spiffeId: trustDomain.id,
    kind: 'authority',
    profile: 'authority',
    entryId: request.grant?.entryId ?? null,
    delegationId: null,
    requester: request.actor,
    holder: request.grant?.holder ?? request.actor,
    publicKeySha256,
    requestId: request.requestId,
    authorityId: issuerOf.id,
    createdAtMs: clock.nowMs(),
    notBefore,
    notAfter,
    replaces: null,
    tbsDer,
  };
  await issuance.recordIntents([intent]);
  const certificateDer = await signed(intent, issuerOf, issuer, request, dependencies);
  const [outcome] = await issuance.finish([
    {
      kind: 'signed',
      serial: serialHex,
      certificateDer,
      sha256: sha256Hex(certificateDer),
      rights: { ...request.grant?.rights, authorityId: issuerOf.id },
      event: {
        timeMs: clock.nowMs(),
        actor: request.actor,
        kind: 'authority.downstream',
        subject: trustDomain.id,
        detail: {
          ...request.grant?.reason,
          serial: serialHex,
          sha256: sha256Hex(certificateDer),
          authority: issuerOf.id,
          publicKeySha256,
          requestId: request.requestId,
          notAfter,
        },
      },
    },
  ]);
  if (outcome?.state !== 'issued')
    throw new PkiError(
      outcome?.state === 'withheld' ? outcome.code : 'WITHHELD',
      outcome?.state === 'withheld'
        ? outcome.message
        : 'the certificate was recorded and not released',
    );
  return answer(serialHex, notAfter, certificateDer, issuerOf, all);
}

function answer(
  serial: string,
  notAfter: number,
  certificateDer: Buffer,
  issuer: Authority,
  all: readonly Authority[],
): DownstreamAuthority {
  const line = [issuer, ...ancestry(issuer, all)];
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

/**
 * The certificate of the same request, whose answer was lost: only while it, the authority that
 * signed it and the grant are what they were.
 */
function recorded(
  record: CertificateRecord | undefined,
  grant: DownstreamGrant,
  now: number,
  all: readonly Authority[],
): DownstreamAuthority | undefined {
  if (
    record === undefined ||
    record.certificateDer === null ||
    record.kind !== 'authority' ||
    record.entryId !== grant.entryId ||
    record.notAfter <= now ||
    !grant.repeatable(record.serial)
  )
    return undefined;
  const issuer = all.find(({ id }) => id === record.authorityId);
  if (issuer === undefined || issuer.certificateDer === null || issuer.state !== 'active')
    return undefined;
  const verified = verifyChain({
    chainDer: [record.certificateDer],
    roots: [issuer.certificateDer],
    now,
  });
  return verified.ok
    ? answer(record.serial, record.notAfter, record.certificateDer, issuer, all)
    : undefined;
}

/**
 * What the token did not sign, or not well, ends as abandoned: it is counted as possibly live, and
 * never signed later.
 */
async function signed(
  intent: Intent,
  issuerOf: Authority,
  issuer: ParsedCertificate,
  request: DownstreamRequest,
  dependencies: DownstreamDependencies,
): Promise<Buffer> {
  const { clock, issuance } = dependencies;
  try {
    const certificateDer = assembleSigned(
      intent.tbsDer,
      issuerOf.keyType,
      await sign(issuerOf, intent.tbsDer, dependencies),
    );
    unwrap(verifyChain({ chainDer: [certificateDer], roots: [issuer.raw], now: clock.now() }));
    return certificateDer;
  } catch (thrown) {
    const { code } = PkiError.from(thrown);
    const { serial, authorityId, requestId, notAfter, spiffeId } = intent;
    await issuance.finish([
      {
        kind: 'abandoned',
        serial,
        reason: code,
        event: {
          timeMs: clock.nowMs(),
          actor: request.actor,
          kind: 'certificate.abandoned',
          subject: spiffeId,
          detail: { serial, reason: code, authority: authorityId, requestId, notAfter },
        },
      },
    ]);
    throw thrown;
  }
}

function issuerFor(id: string | undefined, all: readonly Authority[]): Authority {
  const issuer =
    id === undefined
      ? all.findLast((each) => each.kind === 'root' && hasOwnKey(each) && each.state === 'active')
      : all.find((each) => each.id === id);
  if (issuer === undefined)
    throw id === undefined
      ? new PkiError('NO_ISSUER', 'no active root has its key here', {
          next: 'Let the ceremony, or whoever holds the root, sign the CSR.',
        })
      : new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
  if (issuer.certificateDer === null || !hasOwnKey(issuer))
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `authority ${issuer.id} has no certificate, or its key is not here`,
      { next: 'Name an active root or issuing authority of this server.' },
    );
  if (issuer.state !== 'active')
    throw new PkiError(
      'CONFLICT',
      `authority ${issuer.id} is ${issuer.state}, and only an active one signs`,
    );
  return issuer;
}

function ancestry(authority: Authority, all: readonly Authority[]): readonly Authority[] {
  const found: Authority[] = [];
  for (
    let at = all.find((each) => each.id === authority.parentId);
    at !== undefined;
    at = all.find((each) => each.id === at?.parentId)
  )
    found.push(at);
  return found;
}

/** Never cut in silence: what would outlive any CA above it is refused. */
function lifeOf(
  { lifeSeconds: asked, grant }: DownstreamRequest,
  parents: readonly Authority[],
  issuer: ParsedCertificate,
  { clock, clockSkewSeconds }: DownstreamDependencies,
): { readonly notBefore: number; readonly notAfter: number } {
  const now = clock.now();
  const lifeSeconds =
    asked ??
    Math.min(
      grant?.maximumLifeSeconds ?? 0,
      Math.min(...parents.map((each) => each.notAfter)) - now,
    );
  if (grant !== undefined && lifeSeconds > grant.maximumLifeSeconds)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `a downstream authority lives at most ${grant.maximumLifeSeconds} s (issuance.downstreamTtlSeconds)`,
    );
  if (!Number.isSafeInteger(lifeSeconds) || lifeSeconds < 60)
    throw new PkiError('TTL_OUT_OF_RANGE', 'a downstream authority lives at least 60 s');
  const last = Math.min(...parents.map((each) => each.notAfter));
  if (now + lifeSeconds > last)
    throw new PkiError(
      'ISSUER_LIFETIME',
      `it would outlive what is above it, which ends at ${new Date(last * 1000).toISOString()}`,
      { next: `Ask for at most ${Math.max(0, last - now)} s, or rotate the root first.` },
    );
  return {
    notBefore: Math.max(now - clockSkewSeconds, issuer.notBefore),
    notAfter: now + lifeSeconds,
  };
}

async function sign(
  issuer: Authority,
  tbsDer: Buffer,
  { openToken }: DownstreamDependencies,
): Promise<Buffer> {
  const token = await openToken(issuer.token);
  try {
    return await token.sign(
      { ckaId: issuer.ckaId, keyType: issuer.keyType, spkiDer: issuer.spkiDer as Buffer },
      tbsDer,
    );
  } finally {
    await token.close();
  }
}

import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, verifyChain, type ParsedCertificate } from '../../common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, lint, newSerial, parseCsr } from '../../certs/index.ts';
import { hasOwnKey, type Authority, type TokenRole } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/contract.ts';
import { checkProof } from '../../hsm/proof.ts';
import type { AuthorityStore, IssuanceStore } from '../../store/contract.ts';

export interface DownstreamDependencies {
  readonly authorities: Pick<AuthorityStore, 'list'>;
  readonly issuance: Pick<IssuanceStore, 'recordIntents' | 'finish'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface DownstreamRequest {
  readonly actor: string;
  readonly requestId: string;
  readonly csrDer: Buffer;
  /** Default: the newest active root whose key is ours. */
  readonly issuerId?: string;
  readonly lifeSeconds: number;
}

export interface DownstreamAuthority {
  readonly serial: string;
  readonly notAfter: number;
  /** Its certificate, and what is above it without the root. */
  readonly chainDer: readonly Buffer[];
  readonly rootDer: Buffer;
}

/**
 * An intermediate for another CA of this trust domain, pathLen 0: it can sign every identity in it. Signed by a root of ours,
 * or by an authority whose pathLen leaves room (AUTHORITY_UNFIT otherwise). Recorded before it is released like any other
 * certificate. Of the CSR only the key is used. Throws CSR_*, KEY_*, NO_ISSUER, CONFLICT, AUTHORITY_UNFIT, ISSUER_LIFETIME, HSM_*.
 */
export async function signDownstream(request: DownstreamRequest, dependencies: DownstreamDependencies): Promise<DownstreamAuthority> {
  const { trustDomain, clock, random, issuance } = dependencies;
  const all = await dependencies.authorities.list();
  const issuerOf = issuerFor(request.issuerId, all);
  const issuer = unwrap(parseCertificate(issuerOf.certificateDer as Buffer));
  if (issuer.pathLength !== undefined && issuer.pathLength < 1) {
    throw new PkiError('AUTHORITY_UNFIT', `authority ${issuerOf.id} has pathLen ${issuer.pathLength}: nothing but leaves may be below it`, { next: 'Let a root sign, or an authority with pathLen 1 or more.' });
  }
  const csr = unwrap(parseCsr(request.csrDer));
  unwrap(checkProof(csr.proof));
  const asked = csr.uriSans.find((uri) => uri !== trustDomain.id) ?? csr.dnsSans[0] ?? csr.otherSanKinds[0];
  if (asked !== undefined) throw new PkiError('CSR_IDENTITY_MISMATCH', `the CSR asks for ${asked}: a downstream authority has the name ${trustDomain.id} and no other`);
  if (all.some((each) => each.spkiDer?.equals(csr.spkiDer) === true)) throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of an authority here');
  const above = ancestry(issuerOf, all);
  const { notBefore, notAfter } = lifeOf(request, [issuerOf, ...above], issuer, dependencies);

  const serial = newSerial(clock.nowMs(), random);
  const tbsDer = buildAuthorityTbs({ serial, profile: 'intermediate', issuer, spkiDer: csr.spkiDer, trustDomain, notBefore, notAfter });
  unwrap(lint(tbsDer, 'intermediate', { issuer, spkiDer: csr.spkiDer, spiffeId: SpiffeId.of(trustDomain.id), notBefore, notAfter }));
  const publicKeySha256 = sha256Hex(csr.spkiDer);
  const serialHex = serial.toString('hex');
  await issuance.recordIntents([{
    serial: serialHex, spiffeId: trustDomain.id, kind: 'authority', profile: 'authority', entryId: null, delegationId: null, requester: request.actor, holder: request.actor,
    publicKeySha256, requestId: request.requestId, authorityId: issuerOf.id, createdAtMs: clock.nowMs(), notBefore, notAfter, replaces: null, tbsDer,
  }]);
  const certificateDer = assembleSigned(tbsDer, issuerOf.keyType, await sign(issuerOf, tbsDer, dependencies));
  unwrap(verifyChain({ chainDer: [certificateDer], roots: [issuer.raw], now: clock.now() }));
  const [outcome] = await issuance.finish([{
    kind: 'signed', serial: serialHex, certificateDer, sha256: sha256Hex(certificateDer), rights: { authorityId: issuerOf.id },
    event: { timeMs: clock.nowMs(), actor: request.actor, kind: 'authority.downstream', subject: trustDomain.id, detail: { serial: serialHex, sha256: sha256Hex(certificateDer), authority: issuerOf.id, publicKeySha256, requestId: request.requestId, notAfter } },
  }]);
  if (outcome?.state !== 'issued') throw new PkiError(outcome?.state === 'withheld' ? outcome.code : 'WITHHELD', outcome?.state === 'withheld' ? outcome.message : 'the certificate was recorded and not released');
  const root = [issuerOf, ...above].at(-1) as Authority;
  return { serial: serialHex, notAfter, chainDer: [certificateDer, ...[issuerOf, ...above].filter((each) => each.kind === 'issuing').map((each) => each.certificateDer as Buffer)], rootDer: root.certificateDer as Buffer };
}

function issuerFor(id: string | undefined, all: readonly Authority[]): Authority {
  const issuer = id === undefined ? all.findLast((each) => each.kind === 'root' && hasOwnKey(each) && each.state === 'active') : all.find((each) => each.id === id);
  if (issuer === undefined) throw id === undefined ? new PkiError('NO_ISSUER', 'no active root has its key here', { next: 'Let the ceremony, or whoever holds the root, sign the CSR.' }) : new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
  if (issuer.certificateDer === null || !hasOwnKey(issuer)) throw new PkiError('AUTHORITY_UNFIT', `authority ${issuer.id} has no certificate, or its key is not here`, { next: 'Name an active root or issuing authority of this server.' });
  if (issuer.state !== 'active') throw new PkiError('CONFLICT', `authority ${issuer.id} is ${issuer.state}, and only an active one signs`);
  return issuer;
}

function ancestry(authority: Authority, all: readonly Authority[]): readonly Authority[] {
  const found: Authority[] = [];
  for (let at = all.find((each) => each.id === authority.parentId); at !== undefined; at = all.find((each) => each.id === at?.parentId)) found.push(at);
  return found;
}

/** Never cut in silence: what would outlive any CA above it is refused. */
function lifeOf({ lifeSeconds }: DownstreamRequest, parents: readonly Authority[], issuer: ParsedCertificate, { clock, clockSkewSeconds }: DownstreamDependencies): { readonly notBefore: number; readonly notAfter: number } {
  const now = clock.now();
  if (!Number.isSafeInteger(lifeSeconds) || lifeSeconds < 60) throw new PkiError('TTL_OUT_OF_RANGE', 'a downstream authority lives at least 60 s');
  const last = Math.min(...parents.map((each) => each.notAfter));
  if (now + lifeSeconds > last) throw new PkiError('ISSUER_LIFETIME', `it would outlive what is above it, which ends at ${new Date(last * 1000).toISOString()}`, { next: `Ask for at most ${Math.max(0, last - now)} s, or rotate the root first.` });
  return { notBefore: Math.max(now - clockSkewSeconds, issuer.notBefore), notAfter: now + lifeSeconds };
}

async function sign(issuer: Authority, tbsDer: Buffer, { openToken }: DownstreamDependencies): Promise<Buffer> {
  const token = await openToken(issuer.token);
  try {
    return await token.sign({ ckaId: issuer.ckaId, keyType: issuer.keyType, spkiDer: issuer.spkiDer as Buffer }, tbsDer);
  } finally {
    await token.close();
  }
}

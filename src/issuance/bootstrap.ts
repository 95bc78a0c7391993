import { PkiError, unwrap } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, type KeyType } from '../common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, lint, newSerial } from '../certs/index.ts';
import type { AuditEvent, Authority, AuthorityKind, AuthorityState, TokenRole } from '../domain/index.ts';
import { keyLabelPrefix, type TokenAdmin } from '../hsm/contract.ts';
import type { AuthorityStore, IssuanceStore } from '../store/contract.ts';

export interface AuthorityPlan {
  readonly keyType: KeyType;
  readonly lifeSeconds: number;
}

export interface BootstrapDependencies {
  readonly authorities: AuthorityStore;
  readonly issuance: Pick<IssuanceStore, 'recordIntents'>;
  /** Opens a session process on a token; it is closed again as soon as the work on it is done. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /** False where another CA certifies our issuing intermediates: then only the JWT authority is made here. Default true. */
  readonly ownRoot?: boolean;
  readonly trustDomain: TrustDomain;
  readonly plans: Readonly<Record<AuthorityKind, AuthorityPlan>>;
  /** How far the clocks of the mesh may differ: authorities are valid from that much earlier. */
  readonly clockSkewSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly progress?: (text: string) => void;
  /** For the fault drill. */
  readonly step?: (name: string) => void;
}

const tokenOf: Readonly<Record<AuthorityKind, TokenRole>> = { root: 'root', issuing: 'issuing', jwt: 'issuing' };

/**
 * Brings the authorities of a first start into being, or resumes where a crash left off: the record with its CKA_ID is
 * durable before the key is made, so a key found under a recorded CKA_ID is ours and is used, and no second root arises.
 * A token that holds keys of ours that the database does not know is a fatal error (TOKEN_FOREIGN).
 */
export async function bootstrapAuthorities(dependencies: BootstrapDependencies): Promise<void> {
  const existing = await dependencies.authorities.list();
  const complete = (kind: AuthorityKind): boolean => existing.some((authority) => authority.kind === kind && authority.state !== 'preparing' && authority.state !== 'prepared' && authority.state !== 'published');
  await withToken(dependencies, 'issuing', async (issuingToken) => {
    await checkToken(issuingToken, 'issuing', existing, dependencies);
    if (dependencies.ownRoot !== false && (!complete('root') || !complete('issuing'))) {
      await withToken(dependencies, 'root', async (rootToken) => {
        await checkToken(rootToken, 'root', existing, dependencies);
        const root = await bring('root', undefined, rootToken, rootToken, dependencies);
        await bring('issuing', root, issuingToken, rootToken, dependencies);
      });
    }
    if (!complete('jwt')) await bring('jwt', undefined, issuingToken, undefined, dependencies);
  });
}

/** One authority from wherever it stands to `active`. On a first start nobody holds anything yet, so nothing has to be confirmed. */
async function bring(kind: AuthorityKind, parent: Authority | undefined, token: TokenAdmin, signingToken: TokenAdmin | undefined, dependencies: BootstrapDependencies): Promise<Authority> {
  const found = (await dependencies.authorities.list({ kind })).find((authority) => ['preparing', 'prepared', 'published', 'active'].includes(authority.state));
  let authority = found ?? await record(kind, parent, dependencies);
  dependencies.step?.(`${kind}-recorded`);
  if (authority.state === 'preparing') authority = await complete(authority, parent, token, signingToken, dependencies);
  for (const to of ['published', 'active'] as const) {
    if (isBefore(authority.state, to)) authority = await dependencies.authorities.transition(authority.id, authority.version, to, dependencies.clock.now(), event(dependencies, `authority.${to}`, authority, { reason: 'first start' }));
    dependencies.step?.(`${kind}-${to}`);
  }
  return authority;
}

async function record(kind: AuthorityKind, parent: Authority | undefined, dependencies: BootstrapDependencies): Promise<Authority> {
  const { clock, random } = dependencies;
  const authority: Authority = {
    id: uuidv7(clock.nowMs()), kind, state: 'preparing', version: 0, keyType: dependencies.plans[kind].keyType, token: tokenOf[kind],
    ckaId: random.bytes(16).toString('hex'), parentId: parent?.id ?? null, scope: {}, spkiDer: null, certificateDer: null, subjectKeyId: null,
    notBefore: 0, notAfter: 0, createdAt: clock.now(), activatedAt: null, taintedAt: null,
  };
  await dependencies.authorities.create(authority, event(dependencies, 'authority.prepare', authority, { keyType: authority.keyType, token: authority.token }));
  return authority;
}

async function complete(authority: Authority, parent: Authority | undefined, token: TokenAdmin, signingToken: TokenAdmin | undefined, dependencies: BootstrapDependencies): Promise<Authority> {
  const { ckaId, keyType, kind } = authority;
  const label = labelOf(authority, dependencies.trustDomain);
  const present = await token.findKey(ckaId);
  dependencies.progress?.(present === undefined ? `creating the ${kind} key (${keyType}) in the ${authority.token} token` : `resuming the ${kind} key found in the ${authority.token} token`);
  const { spkiDer } = present ?? await token.generateKey({ ckaId, label, keyType });
  dependencies.step?.(`${kind}-key`);
  const notBefore = dependencies.clock.now() - dependencies.clockSkewSeconds;
  const notAfter = dependencies.clock.now() + dependencies.plans[kind].lifeSeconds;
  if (kind === 'jwt') {
    return dependencies.authorities.complete(authority.id, authority.version, { spkiDer, certificateDer: null, subjectKeyId: null, notBefore, notAfter }, event(dependencies, 'authority.prepared', authority, { kid: ckaId, spkiSha256: sha256Hex(spkiDer), notAfter }));
  }
  const certificateDer = await signCertificate({ authority, parent, spkiDer, notBefore, notAfter }, signingToken as TokenAdmin, dependencies);
  dependencies.step?.(`${kind}-certificate`);
  const parsed = unwrap(parseCertificate(certificateDer));
  return dependencies.authorities.complete(
    authority.id, authority.version, { spkiDer, certificateDer, subjectKeyId: parsed.subjectKeyId as string, notBefore: parsed.notBefore, notAfter: parsed.notAfter },
    event(dependencies, 'authority.prepared', authority, { serial: parsed.serialHex, sha256: sha256Hex(certificateDer), notAfter: parsed.notAfter }),
  );
}

async function signCertificate(input: { readonly authority: Authority; readonly parent: Authority | undefined; readonly spkiDer: Buffer; readonly notBefore: number; readonly notAfter: number }, token: TokenAdmin, dependencies: BootstrapDependencies): Promise<Buffer> {
  const { authority, parent, spkiDer } = input;
  const issuer = parent === undefined ? undefined : unwrap(parseCertificate(parent.certificateDer as Buffer));
  const signer = { ckaId: (parent ?? authority).ckaId, keyType: (parent ?? authority).keyType, spkiDer: parent?.spkiDer ?? spkiDer };
  const profile = parent === undefined ? 'root' : 'intermediate';
  const notBefore = Math.max(input.notBefore, issuer?.notBefore ?? 0);
  const notAfter = Math.min(input.notAfter, issuer?.notAfter ?? input.notAfter);
  const serial = newSerial(dependencies.clock.nowMs(), dependencies.random);
  const { trustDomain } = dependencies;
  const tbsDer = buildAuthorityTbs({ serial, profile, issuer, spkiDer, trustDomain, notBefore, notAfter });
  unwrap(lint(tbsDer, profile, { issuer, spkiDer, spiffeId: SpiffeId.of(trustDomain.id), notBefore, notAfter }));
  await dependencies.issuance.recordIntents([{
    serial: serial.toString('hex'), spiffeId: trustDomain.id, kind: 'authority', profile: 'authority', entryId: null, delegationId: null, requester: 'server', holder: 'server',
    publicKeySha256: sha256Hex(spkiDer), requestId: authority.id, authorityId: parent?.id ?? authority.id, createdAtMs: dependencies.clock.nowMs(), notBefore, notAfter, replaces: null, tbsDer,
  }]);
  const signature = await token.sign(signer, tbsDer);
  return assembleSigned(tbsDer, signer.keyType, signature);
}

async function checkToken(token: TokenAdmin, role: TokenRole, known: readonly Authority[], dependencies: BootstrapDependencies): Promise<void> {
  const keys = await token.listKeys();
  const ours = keys.filter((key) => key.label.startsWith(keyLabelPrefix));
  const prefix = `${keyLabelPrefix}${dependencies.trustDomain.name}/`;
  const otherDomain = ours.find((key) => !key.label.startsWith(prefix));
  if (otherDomain !== undefined) {
    throw new PkiError('TOKEN_FOREIGN', `the ${role} token holds a key of another trust domain: ${otherDomain.label}`, { grade: 'fatal', detail: { token: role, label: otherDomain.label } });
  }
  const recorded = new Set(known.map((authority) => authority.ckaId));
  const unknown = ours.find((key) => !recorded.has(key.ckaId));
  if (unknown !== undefined) {
    throw new PkiError('TOKEN_FOREIGN', `the ${role} token holds the key ${unknown.label} (CKA_ID ${unknown.ckaId}), which this database does not know`, {
      grade: 'fatal', detail: { token: role, label: unknown.label, ckaId: unknown.ckaId },
      next: 'Connect the database that belongs to this token (restore it from its backup), or start with a new token. Nothing was changed.',
    });
  }
  const present = new Set(keys.map((key) => key.ckaId));
  const missing = known.find((authority) => authority.token === role && authority.spkiDer !== null && mustBePresent(authority.state) && !present.has(authority.ckaId));
  if (missing !== undefined) {
    throw new PkiError('HSM_KEY_NOT_FOUND', `the ${role} token lacks the key of the ${missing.kind} authority ${missing.id} (CKA_ID ${missing.ckaId})`, { grade: 'fatal' });
  }
}

async function withToken<T>(dependencies: BootstrapDependencies, role: TokenRole, work: (token: TokenAdmin) => Promise<T>): Promise<T> {
  const token = await dependencies.openToken(role);
  try {
    return await work(token);
  } finally {
    await token.close();
  }
}

const order: readonly AuthorityState[] = ['preparing', 'prepared', 'published', 'active'];
const isBefore = (state: AuthorityState, to: AuthorityState): boolean => order.includes(state) && order.indexOf(state) < order.indexOf(to);
const mustBePresent = (state: AuthorityState): boolean => state === 'prepared' || state === 'published' || state === 'active';

export const labelOf = (authority: Pick<Authority, 'kind' | 'id'>, trustDomain: TrustDomain): string => `${keyLabelPrefix}${trustDomain.name}/${authority.kind}/${authority.id}`;

function event(dependencies: BootstrapDependencies, kind: string, authority: Authority, detail: AuditEvent['detail']): AuditEvent {
  return { timeMs: dependencies.clock.nowMs(), actor: 'server', kind, subject: authority.id, detail: { authorityKind: authority.kind, ...detail } };
}

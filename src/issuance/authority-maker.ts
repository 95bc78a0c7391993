import { PkiError, unwrap } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, type KeyType } from '../common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, lint, newSerial } from '../certs/index.ts';
import {
  preparingAuthority,
  type AuditEvent,
  type Authority,
  type AuthorityKind,
  type AuthorityScope,
  type TokenRole,
} from '../domain/index.ts';
import { keyLabelPrefix, type TokenAdmin } from '../hsm/contract.ts';
import type { AuthorityStore, IssuanceStore, Lease } from '../store/ports/index.ts';

export interface AuthorityPlan {
  readonly keyType: KeyType;
  readonly lifeSeconds: number;
}

/**
 * What it takes to make an authority whose key is ours; used on the first start and by rotation
 * alike.
 */
export interface MakerDependencies {
  readonly authorities: Pick<AuthorityStore, 'create' | 'complete'>;
  readonly issuance: Pick<IssuanceStore, 'recordIntents'>;
  readonly trustDomain: TrustDomain;
  readonly plans: Readonly<Partial<Record<AuthorityKind, AuthorityPlan>>>;
  /** How far the clocks of the mesh may differ: authorities are valid from that much earlier. */
  readonly clockSkewSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly progress?: (text: string) => void;
  /** For the fault drills. */
  readonly step?: (name: string) => void;
}

const tokenOf: Readonly<Record<AuthorityKind, TokenRole>> = {
  root: 'root',
  issuing: 'issuing',
  jwt: 'issuing',
  log: 'issuing',
};

export interface AuthorityAsk {
  readonly kind: AuthorityKind;
  readonly parentId: string | null;
  /** Default: a new one. Given, the record is made at most once. */
  readonly id?: string;
  /** Default: where its kind belongs. */
  readonly token?: TokenRole;
  /** Default: everything. */
  readonly scope?: AuthorityScope;
  readonly actor?: string;
  readonly lease?: Lease;
}

/**
 * The record with its CKA_ID, durable before the key is made, so that a key found under a recorded
 * CKA_ID is ours.
 */
export async function recordAuthority(
  ask: AuthorityAsk,
  dependencies: MakerDependencies,
): Promise<Authority> {
  const { clock, random } = dependencies;
  const { kind, actor = 'server' } = ask;
  const authority = preparingAuthority({
    id: ask.id ?? uuidv7(clock.nowMs()),
    kind,
    keyType: planOf(kind, dependencies).keyType,
    token: ask.token ?? tokenOf[kind],
    ckaId: random.bytes(16).toString('hex'),
    parentId: ask.parentId,
    scope: ask.scope ?? {},
    createdAt: clock.now(),
  });
  await dependencies.authorities.create(
    authority,
    authorityEvent(dependencies, actor, 'authority.prepare', authority, {
      keyType: authority.keyType,
      token: authority.token,
      ...(ask.scope === undefined ? {} : { scope: JSON.stringify(ask.scope) }),
    }),
    ask.lease,
  );
  return authority;
}

export interface CompletionAsk {
  /** In state `preparing`. */
  readonly authority: Authority;
  /** Undefined for a root and for keys without a certificate. */
  readonly parent: Authority | undefined;
  /** Holds, or will hold, its key. */
  readonly token: TokenAdmin;
  /**
   * Holds the key that signs its certificate: its own for a root; undefined where there is no
   * certificate.
   */
  readonly signingToken: TokenAdmin | undefined;
  readonly actor?: string;
  readonly lease?: Lease;
}

/** Key (made, or found by its CKA_ID after a crash) → certificate → `prepared`. */
export async function completeAuthority(
  ask: CompletionAsk,
  dependencies: MakerDependencies,
): Promise<Authority> {
  const { authority, parent, token, signingToken, actor = 'server', lease } = ask;
  const { ckaId, keyType, kind } = authority;
  const label = labelOf(authority, dependencies.trustDomain);
  const present = await token.findKey(ckaId);
  dependencies.progress?.(
    present === undefined
      ? `creating the ${kind} key (${keyType}) in the ${authority.token} token`
      : `resuming the ${kind} key found in the ${authority.token} token`,
  );
  const { spkiDer } = present ?? (await token.generateKey({ ckaId, label, keyType }));
  dependencies.step?.(`${kind}-key`);
  const notBefore = dependencies.clock.now() - dependencies.clockSkewSeconds;
  const notAfter = dependencies.clock.now() + planOf(kind, dependencies).lifeSeconds;
  if (kind !== 'root' && kind !== 'issuing') {
    return dependencies.authorities.complete(
      authority.id,
      authority.version,
      { spkiDer, certificateDer: null, subjectKeyId: null, notBefore, notAfter },
      authorityEvent(dependencies, actor, 'authority.prepared', authority, {
        kid: ckaId,
        spkiSha256: sha256Hex(spkiDer),
        notAfter,
      }),
      lease,
    );
  }
  if (signingToken === undefined)
    throw new PkiError('INTERNAL', 'no token to sign the certificate of an authority with');
  const certificateDer = await signCertificate(
    { authority, parent, spkiDer, notBefore, notAfter },
    signingToken,
    dependencies,
  );
  dependencies.step?.(`${kind}-certificate`);
  const parsed = unwrap(parseCertificate(certificateDer));
  return dependencies.authorities.complete(
    authority.id,
    authority.version,
    {
      spkiDer,
      certificateDer,
      subjectKeyId: parsed.subjectKeyId as string,
      notBefore: parsed.notBefore,
      notAfter: parsed.notAfter,
    },
    authorityEvent(dependencies, actor, 'authority.prepared', authority, {
      serial: parsed.serialHex,
      sha256: sha256Hex(certificateDer),
      notAfter: parsed.notAfter,
    }),
    lease,
  );
}

/**
 * Its intent is durable before the token signs. The certificate ends with its issuer's at the
 * latest.
 */
async function signCertificate(
  input: {
    readonly authority: Authority;
    readonly parent: Authority | undefined;
    readonly spkiDer: Buffer;
    readonly notBefore: number;
    readonly notAfter: number;
  },
  token: TokenAdmin,
  dependencies: MakerDependencies,
): Promise<Buffer> {
  const { authority, parent, spkiDer } = input;
  const issuer =
    parent === undefined ? undefined : unwrap(parseCertificate(parent.certificateDer as Buffer));
  const signer = {
    ckaId: (parent ?? authority).ckaId,
    keyType: (parent ?? authority).keyType,
    spkiDer: parent?.spkiDer ?? spkiDer,
  };
  const profile = parent === undefined ? 'root' : 'intermediate';
  const notBefore = Math.max(input.notBefore, issuer?.notBefore ?? 0);
  const notAfter = Math.min(input.notAfter, issuer?.notAfter ?? input.notAfter);
  const serial = newSerial(dependencies.clock.nowMs(), dependencies.random);
  const { trustDomain } = dependencies;
  const tbsDer = buildAuthorityTbs({
    serial,
    profile,
    issuer,
    spkiDer,
    trustDomain,
    notBefore,
    notAfter,
  });
  unwrap(
    lint(tbsDer, profile, {
      issuer,
      spkiDer,
      spiffeId: SpiffeId.of(trustDomain.id),
      notBefore,
      notAfter,
    }),
  );
  await dependencies.issuance.recordIntents([
    {
      serial: serial.toString('hex'),
      spiffeId: trustDomain.id,
      kind: 'authority',
      profile: 'authority',
      entryId: null,
      delegationId: null,
      requester: 'server',
      holder: 'server',
      publicKeySha256: sha256Hex(spkiDer),
      requestId: authority.id,
      authorityId: parent?.id ?? authority.id,
      createdAtMs: dependencies.clock.nowMs(),
      notBefore,
      notAfter,
      replaces: null,
      tbsDer,
    },
  ]);
  const signature = await token.sign(signer, tbsDer);
  return assembleSigned(tbsDer, signer.keyType, signature);
}

function planOf(kind: AuthorityKind, { plans }: Pick<MakerDependencies, 'plans'>): AuthorityPlan {
  const plan = plans[kind];
  if (plan === undefined)
    throw new PkiError('INTERNAL', `there is no plan for ${kind} authorities`);
  return plan;
}

export const labelOf = (
  authority: Pick<Authority, 'kind' | 'id'>,
  trustDomain: TrustDomain,
): string => `${keyLabelPrefix}${trustDomain.name}/${authority.kind}/${authority.id}`;

export const authorityEvent = (
  { clock }: { readonly clock: Clock },
  actor: string,
  kind: string,
  authority: Pick<Authority, 'id' | 'kind'>,
  detail: AuditEvent['detail'],
): AuditEvent => ({
  timeMs: clock.nowMs(),
  actor,
  kind,
  subject: authority.id,
  detail: { authorityKind: authority.kind, ...detail },
});

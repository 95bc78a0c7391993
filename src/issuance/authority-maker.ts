import { PkiError, unwrap } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../common/runtime/index.ts';
import type { TrustDomain } from '../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, type KeyType } from '../common/x509/index.ts';
import {
  signsCertificates,
  isNamesAuthority,
  preparingAuthority,
  serverRequester,
  type AuditEvent,
  type Authority,
  type AuthorityKind,
  type AuthorityScope,
  type AuthorityState,
  type TokenRole,
} from '../domain/index.ts';
import { keyLabelPrefix, type TokenAdmin } from '../hsm/token-port.ts';
import type { AuditStore, AuthorityStore, Lease } from '../store/ports/index.ts';
import {
  admitAuthority,
  issueAuthorityCertificate,
  type AuthorityCertificate,
} from './authority-certificate.ts';
import type { Admission, IssuancePolicy } from './policy.ts';
import { authorityEvent } from './authority-event.ts';
import { recordAuthorityRefusal } from './authority-refusal.ts';
import type { RecordedIssuance } from './recorded.ts';
import { tokenSigner } from './token-signer.ts';

export interface AuthorityPlan {
  readonly keyType: KeyType;
  readonly lifeSeconds: number;
}

/**
 * What is needed to make an authority whose key is ours. The first start and rotation both use it.
 */
export interface MakerDependencies {
  readonly authorities: Pick<AuthorityStore, 'create' | 'complete'>;
  /** For refusals of the policy. */
  readonly audit: Pick<AuditStore, 'append' | 'list'>;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly trustDomain: TrustDomain;
  readonly plans: Readonly<Partial<Record<AuthorityKind, AuthorityPlan>>>;
  /** Allowed clock difference in the mesh: an authority's notBefore lies this far in the past. */
  readonly clockSkewSeconds: number;
  /** URL of the CRL of an authority whose key is ours; undefined: no CRL is published. */
  readonly crlUrl: (authorityId: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly progress?: (text: string) => void;
  /** Called between the steps, for the fault drills. */
  readonly step?: (name: string) => void;
}

const tokenOf: Readonly<Record<AuthorityKind, TokenRole>> = {
  root: 'root',
  issuing: 'issuing',
  jwt: 'issuing',
  log: 'issuing',
  'names-root': 'root',
  'names-issuing': 'issuing',
  ocsp: 'issuing',
};

export interface AuthorityAsk {
  readonly kind: AuthorityKind;
  readonly parentId: string | null;
  /** Default: a new ID. With a given ID, the record is made at most once. */
  readonly id?: string;
  /** Default: the token for authorities of this kind. */
  readonly token?: TokenRole;
  /** Default: no restriction. */
  readonly scope?: AuthorityScope;
  readonly actor?: string;
  readonly lease?: Lease;
}

/**
 * Records the authority with its CKA_ID. The record is durable before the key is made, so that a
 * key found under a recorded CKA_ID is ours.
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
    authorityEvent(
      dependencies,
      { actor, kind: 'authority.prepare', authority },
      {
        keyType: authority.keyType,
        token: authority.token,
        ...(ask.scope === undefined ? {} : { scope: JSON.stringify(ask.scope) }),
      },
    ),
    { lease: ask.lease },
  );
  return authority;
}

export interface CompletionAsk {
  /** In state `preparing`. */
  readonly authority: Authority;
  /** Undefined for a root and for keys without a certificate. */
  readonly parent: Authority | undefined;
  /** The token that holds its key, or will hold it. */
  readonly token: TokenAdmin;
  /**
   * The token with the key that signs its certificate; for a root, its own token. Undefined where
   * there is no certificate.
   */
  readonly signingToken: TokenAdmin | undefined;
  readonly actor?: string;
  readonly lease?: Lease;
}

/**
 * Makes the key (or finds it by its CKA_ID after a crash), then the certificate, then moves the
 * authority to `prepared`.
 */
export async function completeAuthority(
  ask: CompletionAsk,
  dependencies: MakerDependencies,
): Promise<Authority> {
  const { authority, signingToken } = ask;
  const { kind } = authority;
  const spkiDer = await keyOf(ask, dependencies);
  dependencies.step?.(`${kind}-key`);
  const now = dependencies.clock.now();
  const life = {
    notBefore: now - dependencies.clockSkewSeconds,
    notAfter: now + planOf(kind, dependencies).lifeSeconds,
  };
  if (!signsCertificates(kind)) {
    return complete(ask, dependencies, {
      made: { spkiDer, certificateDer: null, subjectKeyId: null, ...life },
      detail: {
        kid: authority.ckaId,
        spkiSha256: sha256Hex(spkiDer),
        notAfter: life.notAfter,
      },
    });
  }
  if (signingToken === undefined)
    throw new PkiError('INTERNAL', 'no token can sign the certificate of the authority');
  const { certificateDer, sha256 } = await certify(
    { ...ask, signingToken, spkiDer, life },
    dependencies,
  );
  dependencies.step?.(`${kind}-certificate`);
  const { subjectKeyId, notBefore, notAfter, serialHex } = unwrap(parseCertificate(certificateDer));
  return complete(ask, dependencies, {
    made: {
      spkiDer,
      certificateDer,
      subjectKeyId: subjectKeyId as string,
      notBefore,
      notAfter,
    },
    detail: { serial: serialHex, sha256, notAfter },
  });
}

function complete(
  { authority, actor = 'server', lease }: CompletionAsk,
  dependencies: MakerDependencies,
  {
    made,
    detail,
  }: {
    readonly made: Parameters<AuthorityStore['complete']>[1];
    readonly detail: AuditEvent['detail'];
  },
): Promise<Authority> {
  return dependencies.authorities.complete(
    { id: authority.id, version: authority.version, lease },
    made,
    authorityEvent(dependencies, { actor, kind: 'authority.prepared', authority }, detail),
  );
}

async function keyOf(
  { authority, token }: CompletionAsk,
  { trustDomain, progress }: MakerDependencies,
): Promise<Buffer> {
  const { ckaId, keyType, kind } = authority;
  const present = await token.findKey(ckaId);
  progress?.(
    present === undefined
      ? `creating the ${kind} key (${keyType}) in the ${authority.token} token`
      : `resuming the ${kind} key found in the ${authority.token} token`,
  );
  const label = labelOf(authority, trustDomain);
  return (present ?? (await token.generateKey({ ckaId, label, keyType }))).spkiDer;
}

/** A parent in one of these states may certify a new authority. */
const parentStates: readonly AuthorityState[] = ['prepared', 'published', 'active', 'old'];

/** Makes the certificate. Its notAfter is at most that of its issuer. */
async function certify(
  {
    authority,
    parent,
    signingToken,
    spkiDer,
    life,
  }: CompletionAsk & {
    readonly signingToken: TokenAdmin;
    readonly spkiDer: Buffer;
    readonly life: { readonly notBefore: number; readonly notAfter: number };
  },
  dependencies: MakerDependencies,
): Promise<AuthorityCertificate> {
  const issuer =
    parent === undefined ? undefined : unwrap(parseCertificate(parent.certificateDer as Buffer));
  const { id, ckaId, keyType } = parent ?? authority;
  const profile = parent === undefined ? 'root' : 'intermediate';
  // our parents have their key here, so that we publish and renew their CRL
  const crlUrl = parent === undefined ? undefined : dependencies.crlUrl(parent.id);
  const admission = await admitOwn(authority, profile, dependencies);
  return issueAuthorityCertificate(
    {
      admission,
      profile,
      names: isNamesAuthority(authority.kind),
      issuer,
      signer: {
        authorityId: id,
        ckaId,
        keyType,
        states: parent === undefined ? ['preparing'] : parentStates,
      },
      spkiDer,
      ...(crlUrl === undefined ? {} : { crlUrl }),
      notBefore: Math.max(life.notBefore, issuer?.notBefore ?? 0),
      notAfter: Math.min(life.notAfter, issuer?.notAfter ?? life.notAfter),
      record: {
        requester: serverRequester.name,
        holder: serverRequester.name,
        requestId: authority.id,
        entryId: null,
      },
      rights: [],
      issuedAs: {
        kind: 'authority.certified',
        subject: authority.id,
        detail: { authorityKind: authority.kind },
      },
    },
    tokenSigner(signingToken, { ckaId, keyType, spkiDer: parent?.spkiDer ?? spkiDer }),
    dependencies,
  );
}

/**
 * Asks the policy about the certificate of an authority of ours. A refusal is on record.
 *
 * @throws PkiError POLICY_DENIED
 */
async function admitOwn(
  authority: Authority,
  profile: 'root' | 'intermediate',
  dependencies: MakerDependencies,
): Promise<Admission> {
  try {
    return admitAuthority(serverRequester, { profile, keyType: authority.keyType }, dependencies);
  } catch (thrown) {
    const error = PkiError.from(thrown);
    await recordAuthorityRefusal(authority, error, dependencies);
    throw error;
  }
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

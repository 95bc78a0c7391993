import type { KeyType } from '../common/x509/key-type.ts';

/**
 * `log`: the key that signs checkpoints of the audit log. It is in no bundle; exports contain its
 * public key. `ocsp`: the key that signs OCSP answers for the leaves of the authority in `parentId`.
 * Its certificates are in the inventory.
 */
export type AuthorityKind = 'root' | 'issuing' | 'jwt' | 'log' | NamesAuthorityKind | 'ocsp';

/**
 * Root and issuing intermediate of certificates for names. They are in no bundle, and no workload
 * or agent is sent anything of them.
 */
export type NamesAuthorityKind = 'names-root' | 'names-issuing';

export const authorityKinds: readonly AuthorityKind[] = [
  'root',
  'issuing',
  'jwt',
  'log',
  'names-root',
  'names-issuing',
  'ocsp',
];

export const isRootKind = (kind: AuthorityKind): kind is 'root' | 'names-root' =>
  kind === 'root' || kind === 'names-root';

/** True for the kinds of intermediates that sign leaves. */
export const isIssuingKind = (kind: AuthorityKind): kind is 'issuing' | 'names-issuing' =>
  kind === 'issuing' || kind === 'names-issuing';

/** The kind of the root above an intermediate. */
export const rootKindAbove = (kind: 'issuing' | 'names-issuing'): 'root' | 'names-root' =>
  kind === 'issuing' ? 'root' : 'names-root';

/** The kind of the intermediates below a root. */
export const issuingKindBelow = (kind: 'root' | 'names-root'): 'issuing' | 'names-issuing' =>
  kind === 'root' ? 'issuing' : 'names-issuing';

/** True for the kinds whose key the mesh can do without: its loss must not stop the mesh. */
export const isBesideMesh = (kind: AuthorityKind): boolean =>
  isNamesAuthority(kind) || kind === 'ocsp';

/** True for the kinds of the hierarchy that certifies names without an identity. */
export const isNamesAuthority = (kind: AuthorityKind): kind is NamesAuthorityKind =>
  kind === 'names-root' || kind === 'names-issuing';

/** True for the kinds that sign certificates and CRLs: roots, and intermediates. */
export const signsCertificates = (
  kind: AuthorityKind,
): kind is 'root' | 'issuing' | NamesAuthorityKind => isRootKind(kind) || isIssuingKind(kind);

/**
 * The life of an authority. `preparing`: its record is durable, but its key may not exist in the
 * token yet. A start after a crash resumes it by CKA_ID.
 */
export const authorityStates = [
  'preparing',
  'prepared',
  'published',
  'active',
  'old',
  'tainted',
  'revoked',
  'retired',
  'discarded',
  'withdrawn',
] as const;
export type AuthorityState = (typeof authorityStates)[number];

const transitions: Readonly<Record<AuthorityState, readonly AuthorityState[]>> = {
  preparing: ['prepared', 'discarded'],
  prepared: ['published', 'discarded'],
  published: ['active', 'withdrawn', 'tainted'],
  active: ['old', 'tainted'],
  old: ['active', 'retired', 'tainted'],
  tainted: ['revoked'],
  revoked: [],
  retired: [],
  discarded: [],
  withdrawn: [],
};

export const legalTransitions = (from: AuthorityState): readonly AuthorityState[] =>
  transitions[from];
export const isLegalTransition = (from: AuthorityState, to: AuthorityState): boolean =>
  transitions[from].includes(to);

/** True if it is in the bundle (roots, JWT keys), or sent to agents as a chain (intermediates). */
export const isTrusted = (state: AuthorityState): boolean =>
  state === 'published' || state === 'active' || state === 'old' || state === 'tainted';

/** True if its key is in a token of ours. */
export const hasOwnKey = (authority: { readonly token: TokenRole }): boolean =>
  authority.token !== 'external';

/** The final states. */
export const endedStates: readonly AuthorityState[] = [
  'retired',
  'revoked',
  'discarded',
  'withdrawn',
];

/** True if it may sign leaves. */
export const maySign = (state: AuthorityState): boolean => state === 'active';

/**
 * True if it is past its end and signs nothing more. An authority without a certificate
 * (`preparing`) has no end yet.
 */
export const hasEnded = (authority: { readonly notAfter: number }, now: number): boolean =>
  authority.notAfter !== 0 && now >= authority.notAfter;

/**
 * The requests for which an active authority signs; empty: all. Several authorities of a kind may
 * be active, each with a scope.
 */
export interface AuthorityScope {
  /** A share of the nodes, 0 to 1. */
  readonly share?: number;
  /** Node selectors, `type:value`; all must match. */
  readonly selectors?: readonly string[];
  readonly replica?: string;
  readonly region?: string;
}

/**
 * `standby`: a second token, whose authorities sign when the issuing token is lost. `external`: we
 * can not sign with this key. It belongs to a root or intermediate of a company CA, an offline
 * ceremony or an upstream.
 */
export type TokenRole = 'issuing' | 'root' | 'standby' | 'external';

export interface Authority {
  /** UUIDv7. */
  readonly id: string;
  readonly kind: AuthorityKind;
  readonly state: AuthorityState;
  /** For compare-and-set: grows by one with each transition. */
  readonly version: number;
  readonly keyType: KeyType;
  /**
   * The token that holds its key. `external` authorities are only trusted and sent in chains:
   * nothing here signs with them.
   */
  readonly token: TokenRole;
  /**
   * Lower-case hex. For a JWT authority it is also the `kid`. For an `external` one it is the
   * SHA-256 of its certificate.
   */
  readonly ckaId: string;
  /** The authority that signed its certificate; null for a root and for JWT keys. */
  readonly parentId: string | null;
  readonly scope: AuthorityScope;
  /** Null while preparing. */
  readonly spkiDer: Buffer | null;
  /** Null while preparing, and for JWT keys. */
  readonly certificateDer: Buffer | null;
  /** Hex; null while preparing, and for JWT keys. */
  readonly subjectKeyId: string | null;
  /** 0 while preparing. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly createdAt: number;
  readonly activatedAt: number | null;
  readonly taintedAt: number | null;
  readonly publishedAt?: number | null;
  /**
   * The number of seconds in which its leaves must be replaced. The operator set it with the taint.
   */
  readonly taintWindowSeconds?: number | null;
}

/** The first record of an authority, before it has a key or certificate. */
export const preparingAuthority = (
  authority: Pick<
    Authority,
    'id' | 'kind' | 'keyType' | 'token' | 'ckaId' | 'parentId' | 'createdAt'
  > & { readonly scope?: AuthorityScope },
): Authority => ({
  scope: {},
  ...authority,
  state: 'preparing',
  version: 0,
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: null,
  notBefore: 0,
  notAfter: 0,
  activatedAt: null,
  taintedAt: null,
});

/** The cross-certificates of a root that are in use: its name and key, signed by another root. */
export const crossOf = (root: Authority, all: readonly Authority[]): readonly Authority[] =>
  all.filter(
    (candidate) =>
      isRootKind(root.kind) &&
      candidate.kind === issuingKindBelow(root.kind) &&
      candidate.token === 'external' &&
      candidate.state === 'published' &&
      root.spkiDer !== null &&
      candidate.spkiDer?.equals(root.spkiDer) === true,
  );

/** True for a cross-certificate of any root here. */
export const isCross = (authority: Authority, all: readonly Authority[]): boolean =>
  isIssuingKind(authority.kind) &&
  authority.token === 'external' &&
  all.some(
    (candidate) =>
      isRootKind(candidate.kind) &&
      issuingKindBelow(candidate.kind) === authority.kind &&
      candidate.spkiDer !== null &&
      authority.spkiDer?.equals(candidate.spkiDer) === true,
  );

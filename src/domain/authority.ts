import type { KeyType } from '../common/x509/key-type.ts';

/**
 * `log`: the key that signs checkpoints of the audit log; in no bundle, its public key goes with
 * exports.
 */
export type AuthorityKind = 'root' | 'issuing' | 'jwt' | 'log';

/**
 * The life of an authority. `preparing`: its record is durable, its key may or may not exist in the
 * token yet; a start after a crash resumes it by CKA_ID.
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

/** In the bundle (roots, JWT keys), or handed to agents as a chain (intermediates). */
export const isTrusted = (state: AuthorityState): boolean =>
  state === 'published' || state === 'active' || state === 'old' || state === 'tainted';

/** Its key is in a token of ours. */
export const hasOwnKey = (authority: { readonly token: TokenRole }): boolean =>
  authority.token !== 'external';

/** Nothing comes after these. */
export const endedStates: readonly AuthorityState[] = [
  'retired',
  'revoked',
  'discarded',
  'withdrawn',
];

/** May sign leaves. */
export const maySign = (state: AuthorityState): boolean => state === 'active';

/**
 * It is past its end, and signs nothing more. One without a certificate of its own (`preparing`)
 * has no end yet.
 */
export const hasEnded = (authority: { readonly notAfter: number }, now: number): boolean =>
  authority.notAfter !== 0 && now >= authority.notAfter;

/**
 * Which requests an active authority signs for; empty means all. Several of a kind may be active,
 * each with a scope.
 */
export interface AuthorityScope {
  /** Part of the nodes, 0..1. */
  readonly share?: number;
  /** Node selectors, `type:value`; all must match. */
  readonly selectors?: readonly string[];
  readonly replica?: string;
  readonly region?: string;
}

/**
 * `standby`: a second token, whose authorities sign when the issuing token is lost. `external`: the
 * key is nobody's whom we can ask to sign: the root or intermediate of a company CA, an offline
 * ceremony or an upstream.
 */
export type TokenRole = 'issuing' | 'root' | 'standby' | 'external';

export interface Authority {
  /** UUIDv7. */
  readonly id: string;
  readonly kind: AuthorityKind;
  readonly state: AuthorityState;
  /** Compare-and-set: each transition adds one. */
  readonly version: number;
  readonly keyType: KeyType;
  /**
   * Which token holds its key. `external` authorities are only trusted, and passed on in chains:
   * nothing here signs with them.
   */
  readonly token: TokenRole;
  /**
   * Lower-case hex. For a JWT authority it is the `kid` as well; for an `external` one the SHA-256
   * of its certificate.
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
   * In how many seconds its leaves are to be replaced, as the operator set it when he tainted it.
   */
  readonly taintWindowSeconds?: number | null;
}

/** The record with which the life of an authority begins, before it has a key or certificate. */
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

/** Cross-certificates of a root that are in use: its name and key, signed by another root. */
export const crossOf = (root: Authority, all: readonly Authority[]): readonly Authority[] =>
  all.filter(
    (each) =>
      each.kind === 'issuing' &&
      each.token === 'external' &&
      each.state === 'published' &&
      root.spkiDer !== null &&
      each.spkiDer?.equals(root.spkiDer) === true,
  );

/** Of any root here. */
export const isCross = (authority: Authority, all: readonly Authority[]): boolean =>
  authority.kind === 'issuing' &&
  authority.token === 'external' &&
  all.some(
    (each) =>
      each.kind === 'root' &&
      each.spkiDer !== null &&
      authority.spkiDer?.equals(each.spkiDer) === true,
  );

import type { LoggedObject } from './audit.ts';
import {
  signsCertificates,
  hasEnded,
  hasOwnKey,
  isCross,
  isNamesAuthority,
  isTrusted,
  type Authority,
} from './authority.ts';

/** The reasons of RFC 5280, section 5.3.1, that an administrator may state. */
export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const;
export type RevocationReason = (typeof revocationReasons)[number];

/** A compromise counts also after another reason. Nothing else changes a revocation. */
export const raisesReason = (known: RevocationReason, stated: RevocationReason): boolean =>
  stated === 'keyCompromise' && known !== 'keyCompromise';

export interface Revocation {
  readonly serial: string;
  readonly authorityId: string;
  readonly reason: RevocationReason;
  readonly revokedAt: number;
  readonly revokedBy: string;
  /** The notAfter of the certificate. */
  readonly notAfter: number;
  /**
   * The shard that the certificate names; 0: none, so that the complete CRL alone lists it.
   * `unlistedShard`: no CRL does.
   */
  readonly shard: number;
}

/** Of certificates with noRevAvail (RFC 9608): their revocation is on record alone. */
export const unlistedShard = -1;

/** The revocation that a record commits to. */
export const loggedRevocation = ({ id, detail }: LoggedObject): Revocation => ({
  serial: id,
  authorityId: detail['authority'] as string,
  reason: detail['reason'] as RevocationReason,
  revokedAt: detail['revokedAt'] as number,
  revokedBy: detail['revokedBy'] as string,
  notAfter: detail['notAfter'] as number,
  shard: (detail['shard'] as number | undefined) ?? 0,
});

/**
 * At most so many leaves name one shard, so that its CRL stays small: below 600 kB in DER if all of
 * them are revoked.
 */
export const leavesPerShard = 10_000;

/** More in one transaction would block the thread of the server. */
export const revokedAtOnce = 500;

/** The ID under which the log knows a CRL: the authority's for the complete CRL. */
export const crlId = (authorityId: string, shard: number): string =>
  shard === 0 ? authorityId : `${authorityId}/${shard}`;

/** The shard that a leaf is put into before it is signed. */
export interface AssignedShard {
  readonly shard: number;
  /** The distribution point of the leaf. */
  readonly url: string;
  /** Whether no record states the URL of this shard yet: that of the leaf then does. */
  readonly isNew: boolean;
}

/** A shard of the CRLs of one authority, as the log knows it. */
export interface CrlShard {
  /** The Unix second in which it was opened, so that numbers also grow over a restore. */
  readonly shard: number;
  /** Its distribution point, byte for byte as in its leaves; '' if no record states it. */
  readonly url: string;
  /** Leaves on record that name it, and the latest notAfter of them. */
  readonly leaves: number;
  readonly lastNotAfter: number;
}

/** The CRL that was signed or imported last. */
export interface StoredCrl {
  readonly authorityId: string;
  /** 0: the complete CRL of the authority. */
  readonly shard: number;
  /**
   * For an imported CRL: our own number. The number of its issuer may be longer; see
   * `issuerCrlNumber`.
   */
  readonly number: number;
  /** Unix seconds, both inclusive. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly der: Buffer;
}

/** An entry of the CRL of one authority. */
export interface CrlContent {
  readonly serial: string;
  readonly revokedAt: number;
  /** undefined: the CRL states no reason. */
  readonly reason: Exclude<RevocationReason, 'unspecified'> | 'cACompromise' | undefined;
  readonly notAfter: number;
}

/**
 * True for authorities with CRLs of their own: trusted ones that sign certificates and whose key is
 * ours.
 */
export const publishesCrl = (authority: Authority): boolean =>
  signsCertificates(authority.kind) &&
  isTrusted(authority.state) &&
  hasOwnKey(authority) &&
  authority.certificateDer !== null;

/**
 * True for authorities whose complete CRL is published: all but the issuing ones for names, all of
 * whose revocable leaves name a shard. In the mesh it stays beside the shards: see
 * docs/decisions/0011-complete-crl-of-the-mesh.md.
 */
export const hasCompleteCrl = ({ kind }: Pick<Authority, 'kind'>): boolean =>
  kind !== 'names-issuing';

/**
 * True for authorities whose complete CRL workloads and agents are sent. Those of the hierarchy for
 * names are published over HTTP only.
 */
export const isInCrlSet = ({ kind }: Pick<Authority, 'kind'>): boolean => !isNamesAuthority(kind);

/**
 * True for authorities whose CRL a consumer may need now, because certificates that they signed may
 * be in use. An authority that is only published has signed nothing. All certificates of an ended
 * authority have expired, and it can sign no CRL.
 */
export const needsCrl = (authority: Authority, now: number): boolean =>
  signsCertificates(authority.kind) &&
  !hasEnded(authority, now) &&
  (authority.state === 'active' || authority.state === 'old' || authority.state === 'tainted');

/**
 * Whether the CRL of an authority must be signed anew: there is none, half of its life is over (the
 * rest is for outages), a valid certificate was revoked since, or it begins later than now, because
 * the clock was ahead when it was signed.
 */
export function crlIsDue(input: {
  readonly stored: Pick<StoredCrl, 'thisUpdate' | 'nextUpdate'> | undefined;
  /** A revoked and valid certificate is not on the present CRL. */
  readonly unlisted: boolean;
  readonly lifeSeconds: number;
  /** The notAfter of the authority: no CRL outlives it. */
  readonly notAfter: number;
  readonly now: number;
}): boolean {
  const { stored, unlisted, lifeSeconds, notAfter, now } = input;
  if (stored === undefined || unlisted || stored.thisUpdate > now) return true;
  return stored.nextUpdate < notAfter && now >= stored.nextUpdate - lifeSeconds / 2;
}

/**
 * True for authorities whose CRL is imported, because another CA holds their key: a root of another
 * CA, and authorities between it and ours. The CRL of a prepared one may be imported in advance.
 * False for a cross-certificate: it has the name and key of a root with its own CRL.
 */
export const takesCrl = (authority: Authority, all: readonly Authority[]): boolean =>
  signsCertificates(authority.kind) &&
  !hasOwnKey(authority) &&
  authority.certificateDer !== null &&
  (authority.state === 'prepared' || isTrusted(authority.state)) &&
  !isCross(authority, all);

const crlStates = ['missing', 'expired', 'expiring', 'current'] as const;
export type CrlState = (typeof crlStates)[number];

/** Of none: current. */
export const worstCrlState = (states: readonly CrlState[]): CrlState =>
  crlStates.find((state) => states.includes(state)) ?? 'current';

/**
 * The state of one authority's CRLs. It tells an operator of a problem before consumers that check
 * CRLs notice it.
 */
export interface CrlStanding {
  readonly authorityId: string;
  /** `external`: it must be imported. */
  readonly source: 'own' | 'external';
  readonly state: CrlState;
  /** 0 if the CRL is missing. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** The number that its issuer gave; empty if the CRL is missing. */
  readonly number: string;
  /** CRLs of shards beside the complete one. */
  readonly shards: number;
  /** Authorities below it that were revoked here and are not on the CRL. */
  readonly unlisted: readonly string[];
}

/**
 * `expiring`: the last third of its life has begun, and no new CRL has come. A CRL that ends with
 * its authority needs no successor.
 */
export function crlState(
  crl: Pick<StoredCrl, 'thisUpdate' | 'nextUpdate'> | undefined,
  authorityNotAfter: number,
  now: number,
): CrlState {
  if (crl === undefined) return 'missing';
  if (crl.nextUpdate <= now) return 'expired';
  return crl.nextUpdate < authorityNotAfter &&
    now >= crl.nextUpdate - (crl.nextUpdate - crl.thisUpdate) / 3
    ? 'expiring'
    : 'current';
}

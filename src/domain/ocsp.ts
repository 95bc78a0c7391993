import { hasOwnKey, type Authority } from './authority.ts';
import type { CrlContent } from './revocation.ts';

/**
 * A signed OCSP answer about one leaf. The bytes that were signed follow from it and from the
 * certificates of signer and issuer, so that only the signatures are kept. Times are Unix seconds.
 */
export interface OcspRecord {
  /** Of the leaf; hex. */
  readonly serial: string;
  /** The sequence of the signer's certificate in the inventory. */
  readonly signer: number;
  /** The form of the signed bytes: see `ocspForm`. */
  readonly form: number;
  /** undefined: the leaf is good. */
  readonly revoked: Pick<CrlContent, 'revokedAt' | 'reason'> | undefined;
  readonly producedAt: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** When it is to be signed anew. */
  readonly dueAt: number;
  /** The notAfter of the leaf: from then on there is no answer. */
  readonly notAfter: number;
  /** One signature for each hash that a client may use. */
  readonly signatures: Readonly<Record<'sha1' | 'sha256', Buffer>>;
}

/** A leaf about which there is to be an answer. */
export interface OcspLeaf {
  readonly serial: string;
  readonly authorityId: string;
  readonly notAfter: number;
}

/**
 * True for authorities whose leaves name a responder: they certify names, and their key is ours. A
 * tainted one counts: its leaves are in use until they are replaced.
 */
export const answersOcsp = (authority: Authority): boolean =>
  authority.kind === 'names-issuing' &&
  hasOwnKey(authority) &&
  authority.certificateDer !== null &&
  (authority.state === 'active' || authority.state === 'old' || authority.state === 'tainted');

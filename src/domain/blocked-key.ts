import type { LoggedObject } from './audit.ts';

/**
 * A public key for which nothing is issued any more. A block has no end: whoever had the private key
 * once may have it for ever.
 */
export interface BlockedKey {
  /** SHA-256 of the SubjectPublicKeyInfo in DER, hex. */
  readonly publicKeySha256: string;
  /** What an operator or a service stated, in one line. */
  readonly reason: string;
  /** Unix seconds. */
  readonly blockedAt: number;
  readonly blockedBy: string;
}

/** The block that a record commits to. */
export const loggedBlockedKey = ({ id, detail }: LoggedObject): BlockedKey => ({
  publicKeySha256: id,
  reason: detail['reason'] as string,
  blockedAt: detail['blockedAt'] as number,
  blockedBy: detail['blockedBy'] as string,
});

/** What a refusal says of a blocked key. */
export const blockedKeyText = (publicKeySha256: string): string =>
  `the public key with the SHA-256 ${publicKeySha256} is blocked for ever`;

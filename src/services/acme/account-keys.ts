import { blockedKeyText, type AcmeAccount, type Rights } from '../../domain/index.ts';
import type { LedgerBlockedKeys } from '../../ledger/index.ts';
import { accountKey, type AccountKey } from './jws.ts';
import { accept, refuse } from './problem.ts';

const rememberedKeys = 5_000;

/**
 * The keys of accounts, and whether they may be used. A key that is blocked may be stolen, so that
 * nothing is done for whoever signs with it. Owner of the keys that were imported.
 */
export class AccountKeys {
  readonly #blocked: Pick<LedgerBlockedKeys, 'get'>;
  /** By thumbprint. */
  readonly #keys = new Map<string, AccountKey>();

  constructor(blocked: Pick<LedgerBlockedKeys, 'get'>) {
    this.#blocked = blocked;
  }

  /** The key of an account, blocked or not. */
  of({ jwk, algorithm, thumbprint }: Pick<AcmeAccount, 'jwk' | 'algorithm' | 'thumbprint'>) {
    const known = this.#keys.get(thumbprint);
    if (known !== undefined) return known;
    const key = accept(accountKey(jwk, algorithm as AccountKey['algorithm']));
    if (this.#keys.size >= rememberedKeys)
      this.#keys.delete(this.#keys.keys().next().value as string);
    this.#keys.set(thumbprint, key);
    return key;
  }

  isBlocked({ publicKeySha256 }: Pick<AccountKey, 'publicKeySha256'>): boolean {
    return this.#blocked.get(publicKeySha256) !== undefined;
  }

  /**
   * An account is to have this key. The transaction checks it again.
   *
   * @throws AcmeRefusal badPublicKey
   */
  requireFit(key: Pick<AccountKey, 'publicKeySha256'>): void {
    if (this.isBlocked(key)) refuseBlocked(key, 'Make another key for the account');
  }

  /** An account asks for something with its key. @throws AcmeRefusal badPublicKey */
  requireUsable(key: Pick<AccountKey, 'publicKeySha256'>): void {
    if (this.isBlocked(key))
      refuseBlocked(
        key,
        'It is the key of this account, which can do nothing with it, and can not change it ' +
          'either. Make a new account with another key',
      );
  }
}

/** @throws AcmeRefusal badPublicKey */
export const refuseBlocked = (
  { publicKeySha256 }: Pick<AccountKey, 'publicKeySha256'>,
  next: string,
): never =>
  refuse('badPublicKey', `${blockedKeyText(publicKeySha256)}. ${next}`, { code: 'KEY_BLOCKED' });

/** The key is not blocked, when the effect is written. */
export const keyRight = ({
  publicKeySha256,
}: Pick<AccountKey, 'publicKeySha256'>): Rights[number] => ({ kind: 'key', publicKeySha256 });

import { PkiError } from '../common/errors/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import { blockedKeyText, type BlockedKey } from '../domain/index.ts';
import { pagesOf } from '../store/pages.ts';
import type { BlockedKeyStore, Page, PageRequest } from '../store/ports/index.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';

/** The log decides what is blocked, for ever: a deleted or changed row unblocks nothing. */
export interface LedgerBlockedKeys extends Pick<BlockedKeyStore, 'block'> {
  /** Answers at once, from memory. */
  get(publicKeySha256: string): BlockedKey | undefined;
  /** Of the log, in the order of their digests. Announces each row that differs. */
  list(page: PageRequest): Promise<Page<BlockedKey>>;
}

/** @throws PkiError KEY_BLOCKED */
export function requireUnblocked(
  blockedKeys: Pick<LedgerBlockedKeys, 'get'>,
  spkiDer: Buffer,
): void {
  const sha256 = sha256Hex(spkiDer);
  if (blockedKeys.get(sha256) !== undefined)
    throw new PkiError('KEY_BLOCKED', blockedKeyText(sha256));
}

export function ledgerBlockedKeys(rows: BlockedKeyStore, objects: Objects): LedgerBlockedKeys {
  const all = async (): Promise<readonly BlockedKey[]> => {
    const keys: BlockedKey[] = [];
    for await (const page of pagesOf((request) => rows.list(request))) keys.push(...page);
    return keys;
  };
  return {
    block: (key, event) => rows.block(key, event),
    get: (sha256) => objects.blocked.get(sha256),
    list: async ({ size, after = '' }) => {
      await comparedRows(objects, 'blocked-key', all);
      const behind = objects.blocked
        .copy()
        .filter(({ publicKeySha256 }) => publicKeySha256 > after);
      const items = behind.slice(0, size);
      return {
        items,
        next: behind.length > size ? items.at(-1)?.publicKeySha256 : undefined,
      };
    },
  };
}

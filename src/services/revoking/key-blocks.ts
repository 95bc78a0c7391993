import type { Clock } from '../../common/runtime/index.ts';
import type { BlockedKey } from '../../domain/index.ts';
import type { LedgerBlockedKeys } from '../../ledger/index.ts';

export interface KeyBlockDependencies {
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'block' | 'get'>;
  readonly clock: Clock;
}

/** Blocks a key, whoever decided it. Returns false if it was blocked before. */
export async function blockKey(
  { blockedKeys, clock }: KeyBlockDependencies,
  {
    publicKeySha256,
    reason,
    actor,
  }: {
    readonly publicKeySha256: string;
    readonly reason: string;
    readonly actor: string;
  },
): Promise<{ readonly block: BlockedKey; readonly isNew: boolean }> {
  const isNew = blockedKeys.get(publicKeySha256) === undefined;
  const block = await blockedKeys.block(
    { publicKeySha256, reason, blockedAt: clock.now(), blockedBy: actor },
    { timeMs: clock.nowMs(), actor, kind: 'key.blocked', subject: publicKeySha256, detail: {} },
  );
  return { block, isNew };
}

import type { AuditEvent, BlockedKey } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

/**
 * Public keys for which nothing is issued any more; see Store for the rules of every method. The
 * log, not these rows, decides what is blocked: a deleted row unblocks nothing.
 */
export interface BlockedKeyStore {
  /**
   * Blocks a key and moves the revision. No later transaction issues for it. A key that is already
   * blocked is not changed, and no second event is recorded: the present block is returned. The
   * details of the block are added to the event's detail.
   */
  block(key: BlockedKey, event: AuditEvent): Promise<BlockedKey>;
  /** In the order of their digests. */
  list(page: PageRequest): Promise<Page<BlockedKey>>;
}

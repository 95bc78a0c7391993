import type { AuditRecord } from '../../domain/index.ts';
import type { AuditFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Audit {
  list(caller: OperatorCaller, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  /** JSON lines of an export, several per chunk. */
  export(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  /**
   * Yields undefined once no record can be missed any more, then each record when it is committed.
   */
  watch(
    caller: OperatorCaller,
    filter: { readonly identity?: string; readonly kind?: string; readonly actor?: string },
    signal: AbortSignal,
  ): Promise<
    AsyncIterable<{ readonly record: AuditRecord; readonly newHolder: boolean } | undefined>
  >;
}

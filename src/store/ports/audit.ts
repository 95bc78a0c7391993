import type { AuditEvent, AuditRecord } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface AuditStore {
  /**
   * Events that belong to no other write: refusals of authenticated callers and summaries. One
   * commit per batch.
   */
  append(events: readonly AuditEvent[]): Promise<void>;
  list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  count(): Promise<number>;
}

export interface AuditFilter {
  /** This record alone. */
  readonly sequence?: number;
  readonly subject?: string;
  readonly actor?: string;
  readonly kind?: string;
  /** Both inclusive. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** From the end of the log backwards; otherwise in its order. */
  readonly newestFirst?: boolean;
}

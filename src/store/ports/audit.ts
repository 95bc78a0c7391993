import type { AuditEvent, AuditRecord } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface AuditStore {
  /**
   * Appends events that belong to no other write: refusals of authenticated callers, and summaries.
   * One commit per batch.
   */
  append(events: readonly AuditEvent[]): Promise<void>;
  list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  count(): Promise<number>;
}

export interface AuditFilter {
  /** Only the record with this sequence. */
  readonly sequence?: number;
  readonly subject?: string;
  readonly actor?: string;
  readonly kind?: string;
  /** Both times are inclusive. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** Reads from the end of the log backwards. Default: in the order of the log. */
  readonly newestFirst?: boolean;
}

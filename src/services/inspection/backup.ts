import type { OperatorCaller } from '../callers/caller.ts';

export interface Backup {
  /**
   * The present database in chunks. Requires every verb on the whole trust domain, or the local
   * socket.
   */
  read(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
}

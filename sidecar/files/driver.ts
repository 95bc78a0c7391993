import type { Result } from '../../src/common/errors/index.ts';
import type { StoredSet } from './certificate-set.ts';

/** What a driver is told at each step. The same fields go to a driver of one's own as JSON. */
export interface DriverCall {
  readonly target: string;
  /** The directory of the target; `current` is in it. */
  readonly directory: string;
  /** The set that this step is about. At `rollback`: the one that is taken back. */
  readonly set: StoredSet;
  /** The set that was served before. Undefined at the first one. */
  readonly previous: StoredSet | undefined;
  /** The names of the files in each set, by kind (`fullchain`, `key`, `combined`, `ca` …). */
  readonly files: Readonly<Record<string, string>>;
}

/**
 * Whether the server is known to have loaded key and roots together: `loaded` where the driver knows
 * it, `unknown` otherwise.
 */
export interface Applied {
  readonly trust: 'loaded' | 'unknown';
  /** For people; one line. */
  readonly note: string;
}

/**
 * How one server takes over a set. Steps come in this order, and each may come again after a crash,
 * so each is idempotent:
 *
 * - `stage`: the set is on disk, `current` still names the one before. A driver that can ask its
 *   server whether it would take the set does so here.
 * - `apply`: `current` names the set; the server is told.
 * - `verify`: what only the driver can ask its server. Handshakes are not its task.
 * - `rollback`: `current` names `previous` again (or nothing); the server is told.
 * - `remove`: the set is about to be removed from disk.
 *
 * Fails with DRIVER_REFUSED (the server judged the set and keeps the old one), DRIVER_FAILED (it is
 * not known what the server has) or DRIVER_TIMEOUT.
 */
export interface Driver {
  stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>>;
  apply(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>>;
  verify(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>>;
  rollback(call: DriverCall, signal: AbortSignal): Promise<Result<void>>;
  remove(call: DriverCall, signal: AbortSignal): Promise<Result<void>>;
}

import { deepFrozen } from '../../common/runtime/index.ts';
import type { Engine } from './engine.ts';

/** Far more than the callers of one moment. */
const limit = 10_000;

/**
 * The rows on which rights rest, kept from one transaction to the next: the certificates of a moment
 * share their authority, agents and entries. Owner of these rows.
 *
 * A kept row is the one that a read in the open transaction would find. So all are dropped before a
 * write of this process that may change one, after a rollback, and after a commit of another
 * connection (https://www.sqlite.org/pragma.html#pragma_data_version).
 */
export class KeptRows {
  readonly #rows = new Map<string, object>();
  #isKeeping = false;
  #version: unknown;

  constructor(engine: Engine) {
    const foreignCommits = (): unknown =>
      (engine.get('PRAGMA data_version', []) as { readonly data_version: number }).data_version;
    engine.beforeJob((first, kind) => {
      this.#isKeeping = kind === 'issuance';
      if (!this.#isKeeping) this.#rows.clear();
      else if (first) this.#at(foreignCommits());
    });
    engine.onRollback(() => this.#rows.clear());
  }

  /** `key` names the row, which is frozen when it is kept. That there is no row is never kept. */
  row<Row extends object>(key: string, read: () => Row | undefined): Row | undefined {
    if (!this.#isKeeping) return read();
    const kept = this.#rows.get(key) as Row | undefined;
    if (kept !== undefined) return kept;
    const row = read();
    if (row !== undefined) {
      if (this.#rows.size >= limit) this.#rows.clear();
      this.#rows.set(key, deepFrozen(row));
    }
    return row;
  }

  #at(version: unknown): void {
    if (version !== this.#version) this.#rows.clear();
    this.#version = version;
  }
}

import type { PkiError } from '../common/errors/index.ts';

/** `server`: this side accepted the connection. */
export type Role = 'client' | 'server';

export interface HandshakeCounts {
  readonly ok: number;
  /** By error code. */
  readonly failed: Readonly<Record<string, number>>;
}

/** Owned by one source; read through its `stats()`. */
export class Counters {
  closedAsExpired = 0;
  closedAsDistrusted = 0;
  readonly #ok = { client: 0, server: 0 };
  readonly #failed: Record<Role, Map<string, number>> = { client: new Map(), server: new Map() };

  succeeded(role: Role): void {
    this.#ok[role] += 1;
  }

  failed(role: Role, error: PkiError): void {
    const counts = this.#failed[role];
    counts.set(error.code, (counts.get(error.code) ?? 0) + 1);
  }

  handshakes(role: Role): HandshakeCounts {
    return { ok: this.#ok[role], failed: Object.fromEntries(this.#failed[role]) };
  }
}

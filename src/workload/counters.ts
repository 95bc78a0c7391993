import type { PkiError } from '../common/errors/index.ts';

/** `server`: this side accepted the connection. */
export type Role = 'client' | 'server';

export interface HandshakeCounts {
  readonly ok: number;
  /** By error code. */
  readonly failed: Readonly<Record<string, number>>;
}

/** Both roles together, for peers whose certificate names this issuer. */
export interface IssuerCounts {
  /**
   * AuthorityKeyIdentifier, lower-case hex. Empty if the peer presented no readable certificate.
   */
  readonly issuerKeyId: string;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
}

/** Issuers beyond this number count together as unknown, since peers choose their certificates. */
const maximumIssuers = 50;

/** Owned by one source; read through its `stats()` and reported to the agent. */
export class Counters {
  closedAsExpired = 0;
  closedAsDistrusted = 0;
  /** Called after each handshake. */
  onChange: (() => void) | undefined;
  readonly #ok = { client: 0, server: 0 };
  readonly #failed: Record<Role, Map<string, number>> = { client: new Map(), server: new Map() };
  readonly #byIssuer = new Map<
    string,
    { succeeded: number; failed: number; readonly reasons: Map<string, number> }
  >();

  succeeded(role: Role, issuerKeyId = ''): void {
    this.#ok[role] += 1;
    this.#of(issuerKeyId).succeeded += 1;
    this.onChange?.();
  }

  failed(role: Role, error: PkiError, issuerKeyId = ''): void {
    const counts = this.#failed[role];
    counts.set(error.code, (counts.get(error.code) ?? 0) + 1);
    const issuer = this.#of(issuerKeyId);
    issuer.failed += 1;
    issuer.reasons.set(error.code, (issuer.reasons.get(error.code) ?? 0) + 1);
    this.onChange?.();
  }

  handshakes(role: Role): HandshakeCounts {
    return { ok: this.#ok[role], failed: Object.fromEntries(this.#failed[role]) };
  }

  byIssuer(): readonly IssuerCounts[] {
    return [...this.#byIssuer].map(([issuerKeyId, { succeeded, failed, reasons }]) => ({
      issuerKeyId,
      succeeded,
      failed,
      reasons: Object.fromEntries(reasons),
    }));
  }

  #of(issuerKeyId: string): {
    succeeded: number;
    failed: number;
    readonly reasons: Map<string, number>;
  } {
    const key =
      this.#byIssuer.has(issuerKeyId) ||
      (this.#byIssuer.size < maximumIssuers && issuerKeyId.length <= 128)
        ? issuerKeyId
        : '';
    let counts = this.#byIssuer.get(key);
    if (counts === undefined)
      this.#byIssuer.set(key, (counts = { succeeded: 0, failed: 0, reasons: new Map() }));
    return counts;
  }
}

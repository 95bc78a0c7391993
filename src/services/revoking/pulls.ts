import type { CertificateRecord } from '../../domain/index.ts';

/** Has agents and control planes replace certificates that they hold. */
export interface PulledHolders {
  /**
   * These holders have certificates that were revoked, or whose key was blocked. `certificates`: how
   * many in all, from which the window follows over which they are replaced.
   */
  replace(holders: Iterable<string>, certificates: number): void;
}

/** All of these, each of which knows some of the holders. */
export const pulledBy = (...hubs: readonly PulledHolders[]): PulledHolders => ({
  replace: (holders, certificates) => {
    const all = [...holders];
    for (const hub of hubs) hub.replace(all, certificates);
  },
});

/** Collects whose certificates are to be replaced. */
export class Pulls {
  readonly #holders = new Set<string>();
  #certificates = 0;

  get holders(): number {
    return this.#holders.size;
  }

  add({ holder }: Pick<CertificateRecord, 'holder'>): void {
    this.#holders.add(holder);
    this.#certificates += 1;
  }

  tell(pulled: PulledHolders): void {
    if (this.#certificates > 0) pulled.replace(this.#holders, this.#certificates);
  }
}

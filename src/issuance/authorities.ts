import type { Authority, BundleRevision } from '../domain/index.ts';

/**
 * What the authorities of this server are right now; owner: the authority registry, refreshed after
 * each transition.
 */
export interface Authorities {
  all(): readonly Authority[];
  /** Certificates of trusted roots, DER. */
  rootsDer(): readonly Buffer[];
  /** The active issuing authority that a request falls to, or undefined. */
  issuing(scope?: { readonly nodeSelectors?: readonly string[] }): Authority | undefined;
  /** From the issuing authority up, without the root. */
  chainDer(authorityId: string): readonly Buffer[];
  /** The root at the end of an authority's chain. */
  rootOf(authorityId: string): Authority | undefined;
  bundle(): BundleRevision;
  tainted(): readonly Authority[];
  /**
   * Issuing authorities that may sign, now or next (`published`, `active`), with their chain
   * without the root. One object until something changes.
   */
  published(): readonly { readonly authorityId: string; readonly chainDer: readonly Buffer[] }[];
  onChange(listener: () => void): () => void;
}

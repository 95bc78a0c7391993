import type { Authority, BundleRevision } from '../domain/index.ts';

/**
 * The present authorities of this server. Owner: the authority registry, which refreshes after each
 * transition.
 */
export interface Authorities {
  all(): readonly Authority[];
  /** Certificates of trusted roots of the mesh, DER. */
  rootsDer(): readonly Buffer[];
  /** Certificates of trusted roots of names, DER: in no bundle, for relying parties of names. */
  namesRootsDer(): readonly Buffer[];
  /** The active issuing authority for a request, or undefined. */
  issuing(scope?: { readonly nodeSelectors?: readonly string[] }): Authority | undefined;
  /** The chain from the issuing authority upwards, without the root. */
  chainDer(authorityId: string): readonly Buffer[];
  /** The root at the end of an authority's chain. */
  rootOf(authorityId: string): Authority | undefined;
  bundle(): BundleRevision;
  /** Those of the mesh: no agent or control plane is told of authorities of names. */
  tainted(): readonly Authority[];
  /**
   * Issuing authorities that may sign now or next (`published`, `active`), with their chain without
   * the root. The same object is returned until something changes.
   */
  published(): readonly { readonly authorityId: string; readonly chainDer: readonly Buffer[] }[];
  onChange(listener: () => void): () => void;
}

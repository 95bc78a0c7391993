import type { Authority } from '../../domain/index.ts';

export interface ImportedAuthority {
  readonly authority: Authority;
  readonly root: Authority;
  /** From the authority's issuer upwards, without the root. */
  readonly above: readonly Authority[];
  readonly warnings: readonly string[];
  /**
   * True on a first start: no consumer holds a bundle yet, so that the imported authority becomes
   * active at once.
   */
  readonly activated: boolean;
}

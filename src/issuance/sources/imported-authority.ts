import type { Authority } from '../../domain/index.ts';

export interface ImportedAuthority {
  readonly authority: Authority;
  readonly root: Authority;
  /** From the authority's issuer upwards, without the root. */
  readonly above: readonly Authority[];
  readonly warnings: readonly string[];
  /** On a first start nobody holds anything, so that what was imported becomes active at once. */
  readonly activated: boolean;
}

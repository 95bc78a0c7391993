import type { Authority } from '../../domain/index.ts';

export interface AuthorityRequest {
  readonly authority: Authority;
  /** PKCS#10, signed with the authority's key in its token. */
  readonly csrDer: Buffer;
}

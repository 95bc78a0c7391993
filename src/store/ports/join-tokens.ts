import type { AuditEvent, JoinToken } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface JoinTokenStore {
  create(token: JoinToken, event: AuditEvent, signal?: AbortSignal): Promise<void>;
  byHash(tokenSha256: string): Promise<JoinToken | undefined>;
  byId(id: string, signal?: AbortSignal): Promise<JoinToken | undefined>;
  /**
   * Binds the first public key, and records the event. Returns the present token. If another key
   * was bound first, the token shows that key and no event is recorded. JOIN_TOKEN_INVALID if
   * expired at `now`.
   */
  bind(id: string, use: TokenBinding, event: AuditEvent): Promise<JoinToken>;
  /**
   * Makes the token unusable, even if a key is bound and the agent is not recorded yet. `expiresAt`
   * becomes 0, a time to which no clock returns. NOT_FOUND; CONFLICT if it led to a certificate,
   * was revoked, or has expired at `now`.
   */
  revoke(id: string, now: number, event: AuditEvent): Promise<JoinToken>;
  list(page: PageRequest): Promise<Page<JoinToken>>;
}

export interface TokenBinding {
  readonly publicKeySha256: string;
  readonly now: number;
}

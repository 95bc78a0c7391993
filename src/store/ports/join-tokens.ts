import type { AuditEvent, JoinToken } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface JoinTokenStore {
  create(token: JoinToken, event: AuditEvent): Promise<void>;
  byHash(tokenSha256: string): Promise<JoinToken | undefined>;
  byId(id: string): Promise<JoinToken | undefined>;
  /**
   * Binds the first public key, with the event; returns the token as it now is (bound to whichever
   * key came first, and then there is no event). JOIN_TOKEN_INVALID when expired at `now`.
   */
  bind(id: string, use: TokenBinding, event: AuditEvent): Promise<JoinToken>;
  /**
   * It is good for nothing from here on, also where a key is bound and the agent not recorded yet:
   * `expiresAt` becomes 0, a time that no clock goes back to. NOT_FOUND; CONFLICT where it led to a
   * certificate, was revoked, or has expired at `now`.
   */
  revoke(id: string, now: number, event: AuditEvent): Promise<JoinToken>;
  list(page: PageRequest): Promise<Page<JoinToken>>;
  /**
   * Whether a token that was made at `madeUntil` or before may still bring an agent: it is good at
   * `now`, and led to no certificate.
   */
  isAwaited(madeUntil: number, now: number): Promise<boolean>;
}

export interface TokenBinding {
  readonly publicKeySha256: string;
  readonly now: number;
}

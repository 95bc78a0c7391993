import type { JoinToken } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Tokens {
  /** `token` is the secret. Only this answer contains it. `ttlSeconds` 0: the default. */
  create(
    caller: OperatorCaller,
    request: {
      readonly agentName: string;
      readonly ttlSeconds: number;
      readonly nodeSelectors: readonly string[];
    },
    signal?: AbortSignal,
  ): Promise<{
    readonly token: string;
    readonly record: JoinToken;
    /**
     * SHA-256 (hex) of the root that the server shows now, then of the roots that it may show while
     * the token is valid.
     */
    readonly rootFingerprints: readonly string[];
    /** SHA-256 (hex) of the public keys of the issuing authorities that may stand above the server meanwhile. */
    readonly issuerFingerprints: readonly string[];
  }>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<JoinToken>>;
  /**
   * @throws PkiError NOT_FOUND; CONFLICT if the token led to a certificate, was revoked, or has
   *   expired
   */
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<JoinToken>;
}

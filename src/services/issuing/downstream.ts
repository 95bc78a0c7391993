import type { DownstreamAuthority } from '../../issuance/sources/downstream.ts';
import type { DelegateCaller, WorkloadCaller } from '../callers/caller.ts';

/**
 * `signal`: see `Svids`. A caller that went away loses its place in the queue before the root
 * token.
 */
export interface Downstream {
  /**
   * Issues a CA certificate to the calling workload, if the entry of its SVID allows that now.
   * `ttlSeconds` 0: as long as allowed.
   *
   * @throws PkiError DOWNSTREAM_NOT_ALLOWED, AGENT_BANNED, AGENT_EVICTED, RATE_LIMITED, OVERLOADED,
   *   and the codes of signing a downstream authority
   */
  sign(
    caller: WorkloadCaller | DelegateCaller,
    input: { readonly requestId: string; readonly csrDer: Buffer; readonly ttlSeconds: number },
    signal?: AbortSignal,
  ): Promise<DownstreamAuthority & { readonly rootsDer: readonly Buffer[] }>;
}

import type { Delegation } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface DelegationInput {
  readonly clientId: string;
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  /** Empty: all. */
  readonly keyTypes: readonly string[];
  readonly dnsPatterns: readonly string[];
  /** Of names profiles alone. */
  readonly ipRanges: readonly string[];
  readonly wildcards: boolean;
  /** Empty: short-lived. */
  readonly profile: string;
  readonly expiresAt: number;
}

export interface Delegations {
  create(caller: OperatorCaller, input: DelegationInput, signal?: AbortSignal): Promise<Delegation>;
  list(
    caller: OperatorCaller,
    filter: { readonly includeRevoked: boolean },
    page: PageRequest,
  ): Promise<Page<Delegation>>;
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<Delegation>;
}

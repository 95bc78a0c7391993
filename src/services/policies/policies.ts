import type { IssuancePolicyVersion, StoredIssuancePolicy } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

/** The policy of issuance, by version. */
export interface Policies {
  /** By the log. 0: the built-in policy. */
  presentVersion(): number;
  /** `version` 0: the one in force; undefined: the built-in one. */
  get(caller: OperatorCaller, version: number): Promise<StoredIssuancePolicy | undefined>;
  /** Newest first. */
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<IssuancePolicyVersion>>;
  /**
   * Puts a policy in force as the version after `version`, which must be the present one (else
   * CONFLICT). POLICY_INVALID.
   */
  activate(
    caller: OperatorCaller,
    policy: { readonly text: string; readonly version: number; readonly reason: string },
    signal?: AbortSignal,
  ): Promise<StoredIssuancePolicy>;
}

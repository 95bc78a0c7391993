import type {
  AuditEvent,
  IssuancePolicyVersion,
  StoredIssuancePolicy,
} from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

/** The versions of the policy of issuance. Versions are only added, and reads prove nothing. */
export interface IssuancePolicyStore {
  /** The highest version among the rows; 0 without any. */
  newest(): Promise<number>;
  byVersion(version: number): Promise<StoredIssuancePolicy | undefined>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<IssuancePolicyVersion>>;
  /**
   * Adds the version after `present` (0: there is none). CONFLICT if a row has a higher version;
   * OBJECT_NOT_IN_LOG if the log has one without a row.
   */
  activate(
    policy: Omit<StoredIssuancePolicy, 'version'>,
    present: number,
    event: AuditEvent,
    signal?: AbortSignal,
  ): Promise<IssuancePolicyVersion>;
}

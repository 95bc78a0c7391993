import { PkiError } from '../common/errors/index.ts';
import { policySha256 } from '../common/policy/index.ts';
import type { IssuancePolicyVersion, StoredIssuancePolicy } from '../domain/index.ts';
import type { IssuancePolicyStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

const kind = 'issuance-policy';

export interface LedgerIssuancePolicies extends Pick<IssuancePolicyStore, 'list' | 'activate'> {
  /** By the log, whatever the rows say: versions are only added. 0: the built-in policy. */
  presentVersion(): number;
  /**
   * The policy in force with its file. Undefined: the built-in one.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG if a row or its file was altered, added or taken away
   */
  present(): Promise<StoredIssuancePolicy | undefined>;
  /** A version as the log has it. NOT_FOUND; OBJECT_NOT_IN_LOG. */
  byVersion(version: number): Promise<StoredIssuancePolicy>;
}

export function ledgerIssuancePolicies(
  rows: IssuancePolicyStore,
  objects: Pick<Objects, 'requireRow' | 'expectedCount' | 'announce'>,
): LedgerIssuancePolicies {
  const presentVersion = (): number => objects.expectedCount(kind);
  const proven = async (version: number): Promise<StoredIssuancePolicy | undefined> => {
    const stored = await rows.byVersion(version);
    const row = stored === undefined ? undefined : withoutText(stored);
    objects.requireRow(kind, String(version), row);
    if (stored === undefined || policySha256(stored.text) === stored.sha256) return stored;
    objects.announce({ kind, id: String(version), found: 'differs' });
    throw new PkiError(
      'OBJECT_NOT_IN_LOG',
      `the file of version ${version} of the policy differs`,
      {
        detail: { kind, id: String(version) },
      },
    );
  };
  return {
    presentVersion,
    present: async () => {
      const newest = await rows.newest();
      const version = presentVersion();
      // a row that somebody added above it proves nothing, and is announced
      if (newest > version) await proven(newest);
      return version === 0 ? undefined : proven(version);
    },
    byVersion: async (version) => {
      const policy = await proven(version);
      if (policy === undefined)
        throw new PkiError('NOT_FOUND', `there is no version ${version} of the policy`, {
          next: 'List the versions: "meshca policy list".',
        });
      return policy;
    },
    list: (page) => rows.list(page),
    activate: (policy, present, event, signal) => rows.activate(policy, present, event, signal),
  };
}

function withoutText(policy: StoredIssuancePolicy): IssuancePolicyVersion {
  const { version, sha256, reason, activatedAt, activatedBy } = policy;
  return { version, sha256, reason, activatedAt, activatedBy };
}

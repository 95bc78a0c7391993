import { PkiError } from '../../common/errors/index.ts';
import type { Logger } from '../../common/runtime/index.ts';
import { isNamesProfile, isRevocable, type RecordedProfile } from '../../domain/index.ts';
import type { EntryStore } from '../../store/ports/index.ts';

const pageSize = 500;
const maximumNames = 20;
const next = 'Set issuance.crlBaseUrl, or use the profile short-lived, or short for names.';

/**
 * Refuses a profile that this server can not issue.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function assertIssuable(
  profile: RecordedProfile,
  { revocable }: { readonly revocable: boolean },
): void {
  if (!isRevocable(profile) || revocable) return;
  throw new PkiError(
    'INVALID_REQUEST',
    `certificates of the profile ${profile} are revocable, and this server has no CRL distribution point`,
    {
      next: `Set issuance.crlBaseUrl, or use the profile ${isNamesProfile(profile) ? 'short' : 'short-lived'}.`,
    },
  );
}

/** Warns of existing entries for which this server can no longer issue. */
export async function warnOfRevocable(
  entries: Pick<EntryStore, 'list'>,
  logger: Logger,
): Promise<void> {
  const names: string[] = [];
  let count = 0;
  let after: string | undefined;
  do {
    const page = await entries.list(
      {},
      { size: pageSize, ...(after === undefined ? {} : { after }) },
    );
    for (const { id, profile } of page.items) {
      if (!isRevocable(profile)) continue;
      count += 1;
      if (names.length < maximumNames) names.push(id);
    }
    after = page.next;
  } while (after !== undefined);
  if (count > 0)
    logger.warn(
      { code: 'INVALID_REQUEST', count, entries: names, next },
      'entries have a revocable profile, but this server has no CRL distribution point: ' +
        'no certificates are issued for them',
    );
}

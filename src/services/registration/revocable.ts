import { PkiError } from '../../common/errors/index.ts';
import type { Logger } from '../../common/runtime/index.ts';
import type { WorkloadProfile } from '../../domain/index.ts';
import type { EntryStore } from '../../store/ports/index.ts';

const pageSize = 500;
const maximumNames = 20;
const next = 'Set issuance.crlBaseUrl, or use the short-lived profile.';

/**
 * Refuses a profile that this server can not issue.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function assertIssuable(
  profile: WorkloadProfile,
  { revocable }: { readonly revocable: boolean },
): void {
  if (profile !== 'revocable' || revocable) return;
  throw new PkiError(
    'INVALID_REQUEST',
    'the profile is revocable, and this server has no CRL distribution point',
    { next },
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
      if (profile !== 'revocable') continue;
      count += 1;
      if (names.length < maximumNames) names.push(id);
    }
    after = page.next;
  } while (after !== undefined);
  if (count > 0)
    logger.warn(
      { code: 'INVALID_REQUEST', count, entries: names, next },
      'entries have the revocable profile, but this server has no CRL distribution point: ' +
        'no certificates are issued for them',
    );
}

import { PkiError } from '../../common/errors/index.ts';
import { belowOf } from '../../issuance/index.ts';
import type { Authority } from '../../domain/index.ts';
import type { LedgerRotations } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { UnreplacedOwner, UnreplacedReport } from './authorities.ts';

/** Only so many owners are named; all are counted. */
const maximumNamed = 200;
/** Those beyond are counted together with the last of these. */
const maximumOwners = 20_000;

/**
 * Who still has certificates of this authority, or of those below it, that were not replaced: by
 * entry, by delegation, or else by requester. The owner with most certificates comes first. Reads
 * page by page, so that nobody else waits.
 *
 * @param since certificates that ended earlier do not count (Unix seconds)
 */
export async function unreplacedReport(
  authority: Authority,
  all: readonly Authority[],
  {
    rotations,
    since,
    signal,
  }: {
    readonly rotations: Pick<LedgerRotations, 'unreplaced'>;
    readonly since: number;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<UnreplacedReport> {
  const owners = new Map<string, UnreplacedOwner>();
  let certificates = 0;
  let until = 0;
  for (const id of belowOf(authority.id, all))
    for await (const rows of pagesOf((page) => rotations.unreplaced(id, since, page), { signal }))
      for (const { entryId, delegationId, requester, subject, notAfter } of rows) {
        certificates += 1;
        until = Math.max(until, notAfter);
        const key = `${entryId ?? ''} ${delegationId ?? ''} ${requester}`;
        const known = owners.get(key);
        if (known === undefined && owners.size >= maximumOwners) continue;
        owners.set(key, {
          entryId: entryId ?? '',
          delegationId: delegationId ?? '',
          requester,
          certificates: (known?.certificates ?? 0) + 1,
          until: notAfter,
          subject,
        });
      }
  const sorted = [...owners.values()].sort(
    (one, other) => other.certificates - one.certificates || other.until - one.until,
  );
  return {
    owners: sorted.slice(0, maximumNamed),
    ownersTotal: sorted.length,
    certificates,
    until,
  };
}

/** The refusal to revoke an authority whose leaves are live. It names who would be cut off. */
export const inUse = (
  { id }: Pick<Authority, 'id'>,
  counts: { readonly live: number; readonly liveUnreported: number; readonly lastExpiry: number },
  report: UnreplacedReport,
): PkiError =>
  new PkiError(
    'AUTHORITY_IN_USE',
    `${counts.live} leaves of authority ${id} are live: ` +
      `${counts.live - counts.liveUnreported} whose holder has not confirmed a replacement, ` +
      `${counts.liveUnreported} whose holder can't; the last ends at ` +
      `${new Date(counts.lastExpiry * 1000).toISOString()}. Cut off would be ${cutOffText(report)}`,
    { detail: counts },
  );

/** The owners in words. Those of whom only the log knows have no name. */
function cutOffText({ owners, ownersTotal }: UnreplacedReport): string {
  const named = owners.slice(0, 5).map((owner) => `${ownerText(owner)}: ${owner.certificates}`);
  const more = ownersTotal - named.length;
  if (named.length === 0) return 'holders whose rows are missing';
  return `${named.join(', ')}${more > 0 ? `, and ${more} more` : ''}`;
}

const ownerText = ({ entryId, delegationId, requester }: UnreplacedOwner): string =>
  entryId !== ''
    ? `entry ${entryId}`
    : delegationId !== ''
      ? `delegation ${delegationId} (${requester})`
      : requester;

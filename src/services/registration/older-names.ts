import type { Logger } from '../../common/runtime/index.ts';
import { reservationOf, reservationReached, type ReservedDnsName } from '../../domain/index.ts';
import type { DelegationStore, EntryStore, Page, PageRequest } from '../../store/ports/index.ts';

const pageSize = 500;
const maximumNamed = 20;

/** The rows that may have a DNS name from before it was reserved. */
interface Rows {
  readonly entries: Pick<EntryStore, 'list'>;
  readonly delegations: Pick<DelegationStore, 'list'>;
}

/**
 * Names existing entries and delegations that state a DNS name of the CA. Such a name becomes
 * reserved when a front for a control plane is configured. No certificate has it from then on.
 */
export async function warnOfReservedNames(
  { entries, delegations }: Rows,
  reserved: readonly ReservedDnsName[],
  logger: Logger,
): Promise<void> {
  const found = {
    entries: await idsOf(
      (page) => entries.list({}, page),
      ({ dnsNames }) => dnsNames.some((name) => reservationReached(name, reserved) !== undefined),
    ),
    delegations: await idsOf(
      (page) => delegations.list({ includeRevoked: false }, page),
      // a pattern may reach one: requests for it are refused
      ({ dnsPatterns }) =>
        dnsPatterns.some((pattern) => reservationOf(pattern, reserved) !== undefined),
    ),
  };
  if (found.entries.length + found.delegations.length > 0)
    logger.warn(
      {
        code: 'DNS_NAME_RESERVED',
        count: found.entries.length + found.delegations.length,
        entries: found.entries.slice(0, maximumNamed),
        delegations: found.delegations.slice(0, maximumNamed),
        next: 'Remove these names from the entries and delegations.',
      },
      'entries or delegations state a DNS name of the CA: no certificate with it is issued',
    );
}

async function idsOf<T extends { readonly id: string }>(
  list: (page: PageRequest) => Promise<Page<T>>,
  states: (item: T) => boolean,
): Promise<readonly string[]> {
  const ids: string[] = [];
  let after: string | undefined;
  do {
    const page = await list({ size: pageSize, ...(after === undefined ? {} : { after }) });
    for (const item of page.items) if (states(item)) ids.push(item.id);
    after = page.next;
  } while (after !== undefined);
  return ids;
}

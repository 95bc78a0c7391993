import type { OperatorCaller } from '../../services/callers/caller.ts';
import type { OperationDependencies } from '../operation.ts';
import { isoTime } from './entries.ts';

/** Maximum number of members that one preview looks up. */
const maximumMembers = 20;

/** What already gives the identity of a member: entries, and live admin certificates. */
export async function memberLines(
  { services, clock }: OperationDependencies,
  caller: OperatorCaller,
  members: readonly string[],
): Promise<readonly string[]> {
  const now = clock.now();
  const lines = members.slice(0, maximumMembers).map(async (spiffeId): Promise<string[]> => {
    const [{ items: entries }, { items: certificates }] = await Promise.all([
      services.entries.list(caller, { spiffeId }, { size: 20 }),
      services.certificates.list(
        caller,
        { spiffeId, kind: 'admin', state: 'issued', expiresAfter: now },
        'expiry',
        { size: 20 },
      ),
    ]);
    return [
      ...entries.map(
        (entry) =>
          `now: the entry ${entry.id} gives ${spiffeId}${entry.admin ? ' as an admin' : ''} to ${entry.parentId}`,
      ),
      ...certificates.map(
        ({ serial, notAfter }) =>
          `now: the admin certificate ${serial} of ${spiffeId} lives until ${isoTime(notAfter)}`,
      ),
    ];
  });
  return (await Promise.all(lines)).flat();
}

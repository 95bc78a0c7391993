import type { OperatorCaller } from '../../services/callers/caller.ts';
import { wholeList } from '../../store/pages.ts';
import type { OperationDependencies } from '../operation.ts';
import { isoTime } from './entries.ts';

/**
 * What already gives the identity of a member: entries, and live admin certificates. All of them,
 * since whoever proposes a role could put harmless ones before the one that matters.
 */
export async function memberLines(
  dependencies: OperationDependencies,
  caller: OperatorCaller,
  members: readonly string[],
): Promise<readonly string[]> {
  const lines: string[] = [];
  // one after another, so that other calls run between them
  for (const spiffeId of new Set(members))
    for (const line of await linesOf(dependencies, caller, spiffeId)) lines.push(line);
  return lines;
}

async function linesOf(
  { services, clock }: OperationDependencies,
  caller: OperatorCaller,
  spiffeId: string,
): Promise<readonly string[]> {
  const filter = { spiffeId, kind: 'admin', state: 'issued', expiresAfter: clock.now() } as const;
  const entries = await wholeList((page) => services.entries.list(caller, { spiffeId }, page));
  const certificates = await wholeList((page) =>
    services.certificates.list(caller, filter, 'expiry', page),
  );
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
}

import { PkiError } from '../common/errors/index.ts';
import type { MethodPath } from '../common/wire/index.ts';
import type { PassingCall } from './dual-control.ts';
import type { Row } from './row.ts';

/** Why the database is not the one that was signed last; undefined: it is, or is not judged yet. */
export type DatabaseDoubt = () => PkiError | undefined;

/** Acts that only take rights or trust away, and wait for approval where dual control says so. */
const takesAway = new Set<MethodPath>([
  '/meshca.admin.v1.Authorities/TaintAuthority',
  '/meshca.admin.v1.Authorities/RevokeAuthority',
  '/meshca.admin.v1.Authorities/WithdrawAuthority',
  '/meshca.admin.v1.Certificates/RevokeCertificate',
  '/meshca.admin.v1.Entries/DeleteEntries',
  '/meshca.admin.v1.Roles/DeleteRole',
]);

/** Acts that write, and are done on a stale database as well. */
const writes: ReadonlySet<string> = new Set<MethodPath>([
  ...takesAway,
  '/meshca.admin.v1.Agents/BanAgent',
  '/meshca.admin.v1.Agents/EvictAgent',
  '/meshca.admin.v1.Agents/KeepAgent',
  '/meshca.admin.v1.Approvals/SubmitApproval',
  '/meshca.admin.v1.Approvals/WithdrawOperation',
  '/meshca.admin.v1.Delegations/RevokeDelegation',
  '/meshca.admin.v1.Tokens/RevokeJoinToken',
]);

const acceptance: MethodPath = '/meshca.admin.v1.Server/AcceptRestore';

const isStale = (doubt: DatabaseDoubt): boolean => doubt()?.code === 'DATABASE_STALE';

/**
 * On a database that is older than what was signed, nobody gives rights and nobody begins anything:
 * what the database says of the present rights and goals may be outdated, and another database may
 * take its place. What takes rights or trust away is done: an emergency does not wait, and who
 * accepts the loss should have ended before what comes back with it.
 *
 * @throws PkiError DATABASE_STALE
 */
export function refuseWhileStale(
  doubt: DatabaseDoubt,
  { path, admits, dualControl }: Row,
  { request }: PassingCall,
): void {
  if (admits !== 'operators' || dualControl === 'never' || !isStale(doubt)) return;
  if (path === acceptance || takesAway.has(path)) return;
  if ((request as { readonly dryRun?: boolean }).dryRun === true) return;
  throw new PkiError(
    'DATABASE_STALE',
    'the database is older than what was signed: nothing that gives rights or begins ' +
      'something is done before an operator has accepted the loss',
  );
}

/** What the caller of an act on a stale database must know. */
export const staleNote = (doubt: DatabaseDoubt, path: string): string | undefined =>
  writes.has(path) && isStale(doubt)
    ? 'the database is older than what was signed: this act stays if the loss is accepted ' +
      '("meshca restore accept"); if another database takes the place of this one, repeat the ' +
      'act there'
    : undefined;

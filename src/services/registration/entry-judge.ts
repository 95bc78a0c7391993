import { unwrap } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  checkEntry,
  judgeEntryNames,
  namesOfEntry,
  type AgentNames,
  type EntryDraft,
  type NameOwners,
  type RegistrationEntry,
} from '../../domain/index.ts';
import { coversNamesOfTenants } from '../tenants/names-of-tenants.ts';
import { targetOf, type Access, type OperatorRights } from '../callers/access.ts';
import type { EntryInput } from '../services.ts';
import type { ServiceSettings } from '../settings.ts';
import { assertIssuable } from './revocable.ts';

export interface EntryJudgeDependencies {
  readonly settings: ServiceSettings;
  readonly agentNames: AgentNames;
  readonly isTokenIssuer: (name: string) => boolean;
  readonly clock: Clock;
  readonly access: Pick<Access, 'owners'>;
}

/** Judges entries by their own rules and by the rights of the operator who writes them. */
export class EntryJudge {
  readonly #dependencies: EntryJudgeDependencies;

  constructor(dependencies: EntryJudgeDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Makes the draft of a valid input that the operator may write. `before`: the entry that it
   * replaces. An unchanged past expiry is allowed.
   */
  draft(rights: OperatorRights, input: EntryInput, before?: RegistrationEntry): EntryDraft {
    const { settings, agentNames, isTokenIssuer, clock } = this.#dependencies;
    const now =
      before !== undefined && before.expiresAt === input.expiresAt
        ? Math.min(clock.now(), input.expiresAt - 1)
        : clock.now();
    const draft = checkEntry(input, { ...settings, agentNames, isTokenIssuer }, now);
    if (before?.profile !== draft.profile) assertIssuable(draft.profile, settings);
    requireWrite(rights, draft);
    const owners = this.#dependencies.access.owners;
    requireNames(rights, owners, { draft, before });
    if (before === undefined || !hasSameNames(before, draft))
      unwrap(judgeEntryNames(owners, draft));
    return draft;
  }
}

/** An entry that lost its names to a tenant is refused at issuance, and stops no other change. */
const hasSameNames = (before: RegistrationEntry, draft: EntryDraft): boolean =>
  before.spiffeId === draft.spiffeId &&
  before.profile === draft.profile &&
  before.dnsNames.join() === draft.dnsNames.join() &&
  before.ips.join() === draft.ips.join();

/**
 * A writer of one team's entries must not name the services of another. The names of an identity
 * are limited by the tenants of roles alone; those of a certificate of names by DNS scopes too.
 */
function requireNames(
  rights: OperatorRights,
  owners: NameOwners,
  { draft, before }: { readonly draft: EntryDraft; readonly before: RegistrationEntry | undefined },
): void {
  const subject = namesOfEntry(draft);
  // names of the one kind were granted by other rights than those of the other
  const isSameKind =
    before !== undefined && (namesOfEntry(before) === undefined) === (subject === undefined);
  const had = isSameKind ? before : undefined;
  if (subject !== undefined) {
    const isNew =
      subject.dnsNames.some((name) => had?.dnsNames.includes(name) !== true) ||
      subject.ips.some((ip) => had?.ips.includes(ip) !== true);
    if (isNew) rights.require('entry.write', { kind: 'names', subject });
    return;
  }
  const added = draft.dnsNames.filter((name) => had?.dnsNames.includes(name) !== true);
  if (!coversNamesOfTenants(rights, 'entry.write', { owners, dnsNames: added }))
    rights.requireEverything('adding DNS names that are not of a tenant of the caller');
}

export function requireWrite(rights: OperatorRights, entry: EntryDraft): void {
  rights.require('entry.write', targetOf(entry));
  if (entry.admin || entry.downstream)
    rights.requireEverything(`an entry that makes ${entry.admin ? 'an admin' : 'a downstream CA'}`);
}

export const mayWrite = (rights: OperatorRights, entry: RegistrationEntry): boolean =>
  rights.permits('entry.write', targetOf(entry)) &&
  (rights.everything || (!entry.admin && !entry.downstream));

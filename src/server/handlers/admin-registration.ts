import type { EntriesHandlers } from '../../common/wire/generated/meshca/admin/v1/Entries.ts';
import type { DelegationsHandlers } from '../../common/wire/generated/meshca/admin/v1/Delegations.ts';
import type { RolesHandlers } from '../../common/wire/generated/meshca/admin/v1/Roles.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { Entries, EntryInput, EntryResult, Services } from '../../services/contract.ts';
import { given, pageOf, problemOf, tooMany } from '../convert/common.ts';
import { entryInput, entryMessage } from '../convert/entries.ts';
import { delegationMessage, roleMessage } from '../convert/views.ts';
import type { Guard } from '../guard.ts';
import { operatorOf, unary } from './unary.ts';

const entryBatchLimit = 500;
const applyLimit = 50_000;

const resultMessage = (result: EntryResult) =>
  result.ok
    ? { id: result.id, entry: entryMessage(result.entry) }
    : { id: result.id, problem: problemOf(result.error, true) };

/** An input as far as it can be read, or why not. */
function readInput(
  entry: Entry__Output,
): { readonly ok: true; readonly input: EntryInput } | Extract<EntryResult, { ok: false }> {
  try {
    return { ok: true, input: entryInput(entry) };
  } catch (thrown) {
    return { ok: false, id: entry.id, error: PkiError.from(thrown) };
  }
}

export function entriesHandlers(guard: Guard, entries: Entries): EntriesHandlers {
  return {
    CreateEntries: unary(guard, async (context, { entries: inputs }) => {
      tooMany('entries', inputs.length, entryBatchLimit);
      const read = inputs.map(readInput);
      const good = read.flatMap((each) => (each.ok ? [each.input] : []));
      // one that can not even be read holds up no other; a call of nothing else is refused as a
      // whole
      if (good.length === 0) inputs.forEach(entryInput);
      const created = await entries.create(operatorOf(context), good);
      let next = 0;
      return {
        results: read.map((each) =>
          resultMessage(each.ok ? (created[next++] as EntryResult) : each),
        ),
      };
    }),
    GetEntry: unary(guard, async (context, { id }) =>
      entryMessage(await entries.get(operatorOf(context), id)),
    ),
    ListEntries: unary(guard, async (context, { page, filter }) => {
      const found = await entries.list(
        operatorOf(context),
        {
          ...given('spiffeId', filter?.spiffeId ?? ''),
          ...given('parentId', filter?.parentId ?? ''),
          ...given('selector', filter?.selector ?? ''),
        },
        pageOf(page),
      );
      return { entries: found.items.map(entryMessage), nextPageToken: found.next ?? '' };
    }),
    UpdateEntry: unary(guard, async (context, { entry }) => {
      if (!entry) throw new PkiError('INVALID_REQUEST', 'the entry is missing');
      return entryMessage(
        await entries.update(operatorOf(context), entryInput(entry), entry.revision),
      );
    }),
    DeleteEntries: unary(guard, async (context, { ids }) => {
      tooMany('entries', ids.length, entryBatchLimit);
      return { results: (await entries.delete(operatorOf(context), ids)).map(resultMessage) };
    }),
    ApplyEntries: unary(guard, async (context, { entries: inputs, prune, dryRun }) => {
      tooMany('entries', inputs.length, applyLimit);
      const { changes, unchanged, applied } = await entries.apply(
        operatorOf(context),
        inputs.map(entryInput),
        { prune, dryRun },
      );
      return {
        changes: changes.map(({ action, before, after }) => ({
          action,
          ...(before ? { before: entryMessage(before) } : {}),
          ...(after ? { after: entryMessage(after) } : {}),
        })),
        unchanged,
        applied,
      };
    }),
  };
}

export function delegationsHandlers(
  guard: Guard,
  { delegations }: Pick<Services, 'delegations'>,
): DelegationsHandlers {
  return {
    CreateDelegation: unary(guard, async (context, { delegation }) => {
      if (!delegation) throw new PkiError('INVALID_REQUEST', 'the delegation is missing');
      return delegationMessage(await delegations.create(operatorOf(context), delegation));
    }),
    ListDelegations: unary(guard, async (context, { page, includeRevoked }) => {
      const found = await delegations.list(operatorOf(context), { includeRevoked }, pageOf(page));
      return { delegations: found.items.map(delegationMessage), nextPageToken: found.next ?? '' };
    }),
    RevokeDelegation: unary(guard, async (context, { id, reason }) =>
      delegationMessage(await delegations.revoke(operatorOf(context), id, reason)),
    ),
  };
}

export function rolesHandlers(guard: Guard, { roles }: Pick<Services, 'roles'>): RolesHandlers {
  return {
    PutRole: unary(guard, async (context, { role }) => {
      if (!role) throw new PkiError('INVALID_REQUEST', 'the role is missing');
      return roleMessage(await roles.put(operatorOf(context), role));
    }),
    ListRoles: unary(guard, async (context, { page }) => {
      const found = await roles.list(operatorOf(context), pageOf(page));
      return { roles: found.items.map(roleMessage), nextPageToken: found.next ?? '' };
    }),
    DeleteRole: unary(guard, async (context, { name }) =>
      roleMessage(await roles.delete(operatorOf(context), name)),
    ),
  };
}

import { PkiError } from '../../common/errors/index.ts';
import type { Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { EntryInput, EntryResult } from '../../services/services.ts';
import { given, pageOf, problemOf, tooMany } from '../messages/common.ts';
import { entryInput, entryMessage } from '../messages/entries.ts';
import type { OperationsOf } from '../operation.ts';
import { diff } from '../preview/diff.ts';
import { parentLines, presentEntry, statedEntry } from '../preview/entries.ts';

const batchLimit = 500;
const applyLimit = 50_000;

export const entryOperations: OperationsOf<'meshca.admin.v1.Entries'> = {
  CreateEntries: {
    admits: 'operators',
    dualControl: {
      when: 'an entry makes, or could become, an admin or approver, or allows a CA below',
      matters: ({ entries }, sights) => sights.entriesMatter(entries),
    },
    preview: async (dependencies, caller, { entries }) => [
      ...entries.flatMap((entry) =>
        diff(`create entry ${entry.id || '(new ID)'}`, undefined, statedEntry(entry)),
      ),
      ...(await parentLines(dependencies, caller, entries)),
    ],
    run: async ({ services }, caller, { entries }, signal) => {
      tooMany('entries', entries.length, batchLimit);
      const read = entries.map(readInput);
      const good = read.flatMap((item) => (item.ok ? [item.input] : []));
      // an invalid item does not affect the others; a call with invalid items only is refused as a
      // whole
      if (good.length === 0) entries.forEach(entryInput);
      const created = await services.entries.create(caller, good, signal);
      let next = 0;
      return {
        results: read.map((item) =>
          resultMessage(item.ok ? (created[next++] as EntryResult) : item),
        ),
      };
    },
  },
  GetEntry: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }, signal) =>
      entryMessage(await services.entries.get(caller, id, signal)),
  },
  ListEntries: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, filter }, signal) => {
      const { items, next } = await services.entries.list(
        caller,
        {
          ...given('spiffeId', filter?.spiffeId ?? ''),
          ...given('parentId', filter?.parentId ?? ''),
          ...given('selector', filter?.selector ?? ''),
        },
        pageOf(page, signal),
      );
      return { entries: items.map(entryMessage), nextPageToken: next ?? '' };
    },
  },
  UpdateEntry: {
    admits: 'operators',
    dualControl: {
      when: 'the entry, as it is or as it becomes, matters in the same way',
      matters: async ({ entry }, sights) =>
        entry !== null &&
        ((await sights.entriesMatter([entry])) || (await sights.storedMatter([entry.id]))),
    },
    preview: async (dependencies, caller, { entry }) =>
      entry === null
        ? []
        : [
            ...diff(
              `update entry ${entry.id}`,
              await presentEntry(dependencies, caller, entry.id),
              statedEntry(entry),
            ),
            ...(await parentLines(dependencies, caller, [entry])),
          ],
    run: async ({ services }, caller, { entry }, signal) => {
      if (!entry) throw new PkiError('INVALID_REQUEST', 'the entry is missing');
      const input = entryInput(entry);
      return entryMessage(await services.entries.update(caller, input, entry.revision, signal));
    },
  },
  DeleteEntries: {
    admits: 'operators',
    dualControl: {
      when: 'one of the entries matters in the same way',
      matters: ({ ids }, sights) => {
        // the limit of the operation: each entry is looked up
        tooMany('entries', ids.length, batchLimit);
        return sights.storedMatter(ids);
      },
    },
    preview: async (dependencies, caller, { ids }) =>
      (
        await Promise.all(
          ids.map(async (id) =>
            diff(`delete entry ${id}`, await presentEntry(dependencies, caller, id), undefined),
          ),
        )
      ).flat(),
    run: async ({ services }, caller, { ids }, signal) => {
      tooMany('entries', ids.length, batchLimit);
      return { results: (await services.entries.delete(caller, ids, signal)).map(resultMessage) };
    },
  },
  ApplyEntries: {
    admits: 'operators',
    dualControl: {
      when:
        'a stated entry, the present one in its place, or one that is pruned matters in the ' +
        'same way, and it is no dry run',
      matters: async ({ entries, prune, dryRun }, sights) => {
        if (dryRun) return false;
        const ids = entries.map(({ id }) => id).filter((id) => id !== '');
        return (
          (await sights.entriesMatter(entries)) ||
          (await sights.storedMatter(ids)) ||
          (prune && (await sights.othersMatter(new Set(ids))))
        );
      },
    },
    preview: async (dependencies, caller, { entries, prune }) => {
      const { changes, unchanged } = await dependencies.services.entries.apply(
        caller,
        entries.map(entryInput),
        { prune, dryRun: true },
      );
      return [
        ...changes.flatMap(({ action, before, after }) =>
          diff(
            `${action} entry ${(after ?? before)?.id ?? ''}`,
            before === undefined ? undefined : statedEntry(entryMessage(before)),
            after === undefined ? undefined : statedEntry(entryMessage(after)),
          ),
        ),
        `${unchanged} entries stay as they are`,
        ...(await parentLines(dependencies, caller, entries)),
      ];
    },
    run: async ({ services }, caller, { entries, prune, dryRun }, signal) => {
      tooMany('entries', entries.length, applyLimit);
      const { changes, unchanged, applied } = await services.entries.apply(
        caller,
        entries.map(entryInput),
        { prune, dryRun, signal },
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
    },
  },
};

const resultMessage = (result: EntryResult) =>
  result.ok
    ? { id: result.id, entry: entryMessage(result.entry) }
    : { id: result.id, problem: problemOf(result.error, true) };

/** The input of an entry, or the error if it can not be parsed. */
function readInput(
  entry: Entry__Output,
): { readonly ok: true; readonly input: EntryInput } | Extract<EntryResult, { ok: false }> {
  try {
    return { ok: true, input: entryInput(entry) };
  } catch (thrown) {
    return { ok: false, id: entry.id, error: PkiError.from(thrown) };
  }
}

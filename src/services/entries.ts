import { PkiError } from '../common/errors/index.ts';
import { uuidv7, type Clock } from '../common/runtime/index.ts';
import {
  checkConflicts,
  conflictReads,
  checkEntry,
  type AgentNames,
  type EntryDraft,
  type EntrySight,
  type RegistrationEntry,
} from '../domain/index.ts';
import type {
  EntryChange,
  EntryFilter,
  EntryStore,
  EntryWrite,
  Page,
  PageRequest,
} from '../store/ports/index.ts';
import { pagesOf } from '../store/pages.ts';
import { targetOf, visiblePage, type Access, type OperatorRights } from './access.ts';
import { actorOf, type OperatorCaller } from './caller.ts';
import type { Entries, EntryInput, EntryResult } from './contract.ts';
import { grantKey, isUnchanged } from './entry-diff.ts';
import { entryEvent } from './entry-events.ts';
import { refusing, type RefusalLog } from './refusals.ts';
import { checkBatchSize, checkPage } from './requests.ts';
import type { ServiceSettings } from './settings.ts';

export interface EntryDeps {
  readonly entries: EntryStore;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly agentNames: AgentNames;
  readonly settings: ServiceSettings;
}

const maximumApplied = 50_000;

/**
 * Registration entries. Each change is judged before and after: whoever may not write both sides
 * may not make it.
 */
export class EntryService implements Entries {
  readonly #deps: EntryDeps;

  constructor(deps: EntryDeps) {
    this.#deps = deps;
  }

  create(caller: OperatorCaller, inputs: readonly EntryInput[]): Promise<readonly EntryResult[]> {
    return refusing(this.#deps.refusals, caller, 'CreateEntries', undefined, async () => {
      checkBatchSize(inputs.length);
      const rights = await this.#deps.access.of(caller);
      const items = inputs.map((input) =>
        this.#judged(input.id, () => this.#createWrite(caller, rights, input)),
      );
      return this.#writeEach(caller, 'CreateEntries', items);
    });
  }

  get(caller: OperatorCaller, id: string): Promise<RegistrationEntry> {
    return refusing(this.#deps.refusals, caller, 'GetEntry', id.slice(0, 64), async () => {
      const rights = await this.#deps.access.of(caller);
      rights.require('entry.read', { kind: 'none' });
      const entry = await this.#deps.entries.byId(id);
      // who may not read it learns nothing of it
      if (entry === undefined || !rights.permits('entry.read', targetOf(entry)))
        throw new PkiError('NOT_FOUND', `there is no entry ${JSON.stringify(id.slice(0, 64))}`);
      return entry;
    });
  }

  list(
    caller: OperatorCaller,
    filter: EntryFilter,
    page: PageRequest,
  ): Promise<Page<RegistrationEntry>> {
    return refusing(this.#deps.refusals, caller, 'ListEntries', undefined, async () => {
      const rights = await this.#deps.access.of(caller);
      rights.require('entry.read', { kind: 'none' });
      return visiblePage(
        (next) => this.#deps.entries.list(filter, next),
        (entry) => rights.permits('entry.read', targetOf(entry)),
        checkPage(page),
      );
    });
  }

  update(caller: OperatorCaller, input: EntryInput, revision: number): Promise<RegistrationEntry> {
    return refusing(this.#deps.refusals, caller, 'UpdateEntry', input.id.slice(0, 64), async () => {
      const rights = await this.#deps.access.of(caller);
      const before = await this.#writable(rights, input.id);
      if (revision !== 0 && revision !== before.revision)
        throw new PkiError(
          'CONFLICT',
          `the entry ${input.id} is at revision ${before.revision}, not ${revision}`,
        );
      const draft = this.#checked(rights, input, before);
      const [change] = await this.#write(caller, [this.#updateWrite(caller, before, draft)]);
      return change?.after as RegistrationEntry;
    });
  }

  delete(caller: OperatorCaller, ids: readonly string[]): Promise<readonly EntryResult[]> {
    return refusing(this.#deps.refusals, caller, 'DeleteEntries', undefined, async () => {
      checkBatchSize(ids.length);
      const rights = await this.#deps.access.of(caller);
      const items = await Promise.all(
        ids.map(async (id): Promise<Judged> => {
          try {
            return { ok: true, write: this.#deleteWrite(caller, await this.#writable(rights, id)) };
          } catch (thrown) {
            return { ok: false, id, error: PkiError.from(thrown) };
          }
        }),
      );
      return this.#writeEach(caller, 'DeleteEntries', items);
    });
  }

  apply(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    options: { readonly prune: boolean; readonly dryRun: boolean },
  ): ReturnType<Entries['apply']> {
    return refusing(this.#deps.refusals, caller, 'ApplyEntries', undefined, async () => {
      if (inputs.length > maximumApplied)
        throw new PkiError(
          'REQUEST_TOO_LARGE',
          `an apply has at most ${maximumApplied} entries, this one has ${inputs.length}`,
        );
      const rights = await this.#deps.access.of(caller);
      rights.require('entry.write', { kind: 'none' });
      const present = await this.#all();
      const { writes, unchanged, drafts } = this.#plan(
        caller,
        rights,
        inputs,
        present,
        options.prune,
      );
      if (writes.length === 0) return { changes: [], unchanged, applied: !options.dryRun };
      // as far as can be told without the transaction, in which it is checked again
      checkConflicts(
        sightOf(present),
        drafts,
        new Set([...writes.map(({ id }) => id), ...drafts.map(({ id }) => id)]),
        this.#deps.settings.trustDomain,
      );
      if (options.dryRun)
        return {
          changes: planned(writes, present, this.#deps.clock.now(), actorOf(caller)),
          unchanged,
          applied: false,
        };
      return { changes: await this.#write(caller, writes, drafts), unchanged, applied: true };
    });
  }

  #plan(
    caller: OperatorCaller,
    rights: OperatorRights,
    inputs: readonly EntryInput[],
    present: ReadonlyMap<string, RegistrationEntry>,
    prune: boolean,
  ): Plan {
    const byGrant = new Map([...present.values()].map((entry) => [grantKey(entry), entry]));
    const writes: EntryWrite[] = [];
    const drafts: EntryDraft[] = [];
    const stated = new Set<string>();
    const grants = new Set<string>();
    let unchanged = 0;
    for (const [index, input] of inputs.entries()) {
      const position = `entry ${index + 1} (${(input.id || input.spiffeId).slice(0, 200)})`;
      const twin = input.id === '' ? byGrant.get(grantKey(input)) : undefined;
      const draft = located(position, () =>
        this.#checked(
          rights,
          {
            ...input,
            id: input.id === '' ? (twin?.id ?? uuidv7(this.#deps.clock.nowMs())) : input.id,
          },
          present.get(twin?.id ?? input.id),
        ),
      );
      if (stated.has(draft.id))
        throw new PkiError('INVALID_REQUEST', `${position}: the ID ${draft.id} stands twice`);
      const grant = grantKey(draft);
      if (grants.has(grant))
        throw new PkiError(
          'ALREADY_EXISTS',
          `${position}: SPIFFE ID, parent and selectors stand twice`,
        );
      stated.add(draft.id);
      grants.add(grant);
      drafts.push(draft);
      const before = present.get(draft.id);
      if (before === undefined) writes.push(this.#write1(caller, 'create', draft, 0));
      else if (isUnchanged(before, draft)) unchanged += 1;
      else {
        located(position, () => this.#requireWrite(rights, before));
        writes.push(this.#updateWrite(caller, before, draft));
      }
    }
    if (prune) {
      for (const entry of present.values())
        if (!stated.has(entry.id) && mayWrite(rights, entry))
          writes.push(this.#deleteWrite(caller, entry));
    }
    return { writes, unchanged, drafts };
  }

  #createWrite(caller: OperatorCaller, rights: OperatorRights, input: EntryInput): EntryWrite {
    return this.#write1(
      caller,
      'create',
      this.#checked(rights, {
        ...input,
        id: input.id === '' ? uuidv7(this.#deps.clock.nowMs()) : input.id,
      }),
      0,
    );
  }

  #updateWrite(caller: OperatorCaller, before: RegistrationEntry, draft: EntryDraft): EntryWrite {
    // at the revision that was judged: a change in between loses the comparison, not the judgement
    return this.#write1(caller, 'update', draft, before.revision);
  }

  #deleteWrite(caller: OperatorCaller, before: RegistrationEntry): EntryWrite {
    return {
      action: 'delete',
      id: before.id,
      revision: before.revision,
      event: entryEvent('delete', before, actorOf(caller), this.#deps.clock.nowMs()),
    };
  }

  #write1(
    caller: OperatorCaller,
    action: 'create' | 'update',
    draft: EntryDraft,
    revision: number,
  ): EntryWrite {
    return {
      action,
      id: draft.id,
      draft,
      revision,
      event: entryEvent(action, draft, actorOf(caller), this.#deps.clock.nowMs()),
    };
  }

  /**
   * The draft by its own rules, and the right to the state that it leads to. An entry that stands
   * as it is may keep a past expiry.
   */
  #checked(rights: OperatorRights, input: EntryInput, before?: RegistrationEntry): EntryDraft {
    const { settings, agentNames, clock } = this.#deps;
    const now =
      before !== undefined && before.expiresAt === input.expiresAt
        ? Math.min(clock.now(), input.expiresAt - 1)
        : clock.now();
    const draft = checkEntry(input, { ...settings, agentNames }, now);
    this.#requireWrite(rights, draft);
    // roles know no DNS names: who writes entries of one team must not name the services of another
    if (draft.dnsNames.some((name) => before?.dnsNames.includes(name) !== true))
      rights.requireEverything('adding DNS names to an entry');
    return draft;
  }

  #requireWrite(rights: OperatorRights, entry: EntryDraft): void {
    rights.require('entry.write', targetOf(entry));
    if (entry.admin || entry.downstream)
      rights.requireEverything(
        `an entry that makes ${entry.admin ? 'an admin' : 'a downstream CA'}`,
      );
  }

  async #writable(rights: OperatorRights, id: string): Promise<RegistrationEntry> {
    rights.require('entry.write', { kind: 'none' });
    const before = await this.#deps.entries.byId(id);
    if (before === undefined)
      throw new PkiError('NOT_FOUND', `there is no entry ${JSON.stringify(id.slice(0, 64))}`);
    this.#requireWrite(rights, before);
    return before;
  }

  #judged(id: string, judge: () => EntryWrite): Judged {
    try {
      return { ok: true, write: judge() };
    } catch (thrown) {
      return { ok: false, id, error: PkiError.from(thrown) };
    }
  }

  /**
   * All in one commit if they can be; where one is refused by the store, each for itself, so that
   * it holds up no other.
   */
  async #writeEach(
    caller: OperatorCaller,
    operation: string,
    items: readonly Judged[],
  ): Promise<readonly EntryResult[]> {
    const writes = items.flatMap((item) => (item.ok ? [item.write] : []));
    const done = new Map<EntryWrite, EntryResult>();
    const together =
      writes.length > 1 ? await this.#write(caller, writes).catch(() => undefined) : undefined;
    for (const [index, write] of writes.entries())
      done.set(
        write,
        together === undefined
          ? await this.#writeOne(caller, write)
          : result(write, together[index]),
      );
    const results = items.map(
      (item): EntryResult => (item.ok ? (done.get(item.write) as EntryResult) : item),
    );
    const refused = results.filter((each) => !each.ok);
    await Promise.all(
      refused.map((each) =>
        this.#deps.refusals.refused(caller, operation, each.error, each.id.slice(0, 64)),
      ),
    );
    return results;
  }

  async #writeOne(caller: OperatorCaller, write: EntryWrite): Promise<EntryResult> {
    try {
      const [change] = await this.#write(caller, [write]);
      return result(write, change);
    } catch (thrown) {
      return { ok: false, id: write.id, error: PkiError.from(thrown) };
    }
  }

  #write(
    caller: OperatorCaller,
    writes: readonly EntryWrite[],
    alsoCheck: readonly EntryDraft[] = [],
  ): Promise<readonly EntryChange[]> {
    const written = writes.flatMap(({ draft }) => (draft === undefined ? [] : [draft]));
    const drafts = alsoCheck.length > 0 ? alsoCheck : written;
    const touched = new Set([...writes.map(({ id }) => id), ...drafts.map(({ id }) => id)]);
    const { trustDomain } = this.#deps.settings;
    return this.#deps.entries.write(
      writes,
      { now: this.#deps.clock.now(), createdBy: actorOf(caller) },
      {
        locks: ['entries'],
        reads: conflictReads(drafts),
        judge: (found) => checkConflicts(found, drafts, touched, trustDomain),
      },
    );
  }

  async #all(): Promise<ReadonlyMap<string, RegistrationEntry>> {
    const all = new Map<string, RegistrationEntry>();
    for await (const entries of pagesOf((page) => this.#deps.entries.list({}, page)))
      for (const entry of entries) all.set(entry.id, entry);
    return all;
  }
}

type Judged =
  | { readonly ok: true; readonly write: EntryWrite }
  | { readonly ok: false; readonly id: string; readonly error: PkiError };

interface Plan {
  readonly writes: readonly EntryWrite[];
  readonly unchanged: number;
  readonly drafts: readonly EntryDraft[];
}

const mayWrite = (rights: OperatorRights, entry: RegistrationEntry): boolean =>
  rights.permits('entry.write', targetOf(entry)) &&
  (rights.everything || (!entry.admin && !entry.downstream));

const result = (write: EntryWrite, change: EntryChange | undefined): EntryResult => {
  const entry = change?.after ?? change?.before;
  return entry === undefined
    ? {
        ok: false,
        id: write.id,
        error: new PkiError('INTERNAL', 'the store gave no result for an entry'),
      }
    : { ok: true, id: write.id, entry };
};

function sightOf(present: ReadonlyMap<string, RegistrationEntry>): EntrySight {
  const all = [...present.values()];
  const byId = Map.groupBy(all, ({ spiffeId }) => spiffeId);
  return {
    bySpiffeId: (spiffeId) => byId.get(spiffeId) ?? [],
    templates: () => all.filter(({ isTemplate }) => isTemplate),
    statedBelow: (prefix) =>
      all.filter((entry) => !entry.isTemplate && entry.spiffeId.startsWith(prefix)),
  };
}

/** The diff of a dry run; entries that do not exist yet have revision 0. */
function planned(
  writes: readonly EntryWrite[],
  present: ReadonlyMap<string, RegistrationEntry>,
  now: number,
  createdBy: string,
): readonly EntryChange[] {
  return writes.map(({ action, id, draft }): EntryChange => {
    const before = present.get(id);
    const after =
      draft === undefined
        ? undefined
        : {
            ...draft,
            revision: before?.revision ?? 0,
            createdAt: before?.createdAt ?? now,
            updatedAt: now,
            createdBy: before?.createdBy ?? createdBy,
          };
    return { action, before, after };
  });
}

/** Says which of many entries the error is about. */
function located<T>(position: string, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    const error = PkiError.from(thrown);
    throw new PkiError(error.code, `${position}: ${error.message}`, {
      cause: error,
      next: error.next,
      detail: error.detail,
    });
  }
}

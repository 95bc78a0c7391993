import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  checkConflicts,
  conflictReads,
  type AgentNames,
  type EntryDraft,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type {
  EntryChange,
  EntryFilter,
  EntryStore,
  EntryWrite,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import { targetOf, visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { ApplyOptions, Entries, EntryInput, EntryResult } from '../services.ts';
import { EntryJudge, requireWrite } from './entry-judge.ts';
import { EntryPlanner, planned, sightOf } from './entry-plan.ts';
import { EntryWrites } from './entry-writes.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkBatchSize, checkPage } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';

export interface EntryDependencies {
  readonly entries: EntryStore;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly agentNames: AgentNames;
  readonly isTokenIssuer: (name: string) => boolean;
  readonly settings: ServiceSettings;
}

const maximumApplied = 50_000;

/**
 * Registration entries. The operator must have the right to write both the present entry and the
 * changed one.
 */
export class EntryService implements Entries {
  readonly #dependencies: EntryDependencies;
  /** When the last ID was made, for the order of IDs. */
  #lastIdMs = 0;
  readonly #judge: EntryJudge;

  constructor(dependencies: EntryDependencies) {
    this.#dependencies = dependencies;
    this.#judge = new EntryJudge(dependencies);
  }

  create(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    signal?: AbortSignal,
  ): Promise<readonly EntryResult[]> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'CreateEntries' },
      async () => {
        checkBatchSize(inputs.length);
        const rights = await this.#dependencies.access.of(caller);
        const writes = this.#writesOf(caller);
        const items = inputs.map((input) =>
          judged(input.id, () => {
            const id = input.id === '' ? this.#newId() : input.id;
            return writes.create(this.#judge.draft(rights, { ...input, id }));
          }),
        );
        return this.#writeEach({ caller, signal }, 'CreateEntries', items);
      },
    );
  }

  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<RegistrationEntry> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetEntry', subject: id.slice(0, 64) },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('entry.read', { kind: 'none' });
        const entry = await this.#dependencies.entries.byId(id, signal);
        // a caller without the right to read an entry does not learn that it exists
        if (entry === undefined || !rights.permits('entry.read', targetOf(entry)))
          throw new PkiError('NOT_FOUND', `there is no entry ${JSON.stringify(id.slice(0, 64))}`);
        return entry;
      },
    );
  }

  list(
    caller: OperatorCaller,
    filter: EntryFilter,
    page: PageRequest,
  ): Promise<Page<RegistrationEntry>> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'ListEntries' }, async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('entry.read', { kind: 'none' });
      return visiblePage(
        (next) => this.#dependencies.entries.list(filter, next),
        (entry) => rights.permits('entry.read', targetOf(entry)),
        checkPage(page),
      );
    });
  }

  update(
    caller: OperatorCaller,
    input: EntryInput,
    revision: number,
    signal?: AbortSignal,
  ): Promise<RegistrationEntry> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'UpdateEntry', subject: input.id.slice(0, 64) },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        const before = await this.#writable(rights, input.id, signal);
        if (revision !== 0 && revision !== before.revision)
          throw new PkiError(
            'CONFLICT',
            `the entry ${input.id} is at revision ${before.revision}, not ${revision}`,
          );
        const draft = this.#judge.draft(rights, input, before);
        const write = this.#writesOf(caller).update(before, draft);
        const [change] = await this.#write({ caller, signal }, [write]);
        return change?.after as RegistrationEntry;
      },
    );
  }

  delete(
    caller: OperatorCaller,
    ids: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly EntryResult[]> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'DeleteEntries' },
      async () => {
        checkBatchSize(ids.length);
        const rights = await this.#dependencies.access.of(caller);
        const writes = this.#writesOf(caller);
        const items = await Promise.all(
          ids.map(async (id): Promise<Judged> => {
            try {
              return { ok: true, write: writes.delete(await this.#writable(rights, id, signal)) };
            } catch (thrown) {
              return { ok: false, id, error: PkiError.from(thrown) };
            }
          }),
        );
        return this.#writeEach({ caller, signal }, 'DeleteEntries', items);
      },
    );
  }

  apply(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    { prune, dryRun, signal }: ApplyOptions,
  ): ReturnType<Entries['apply']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ApplyEntries' },
      async () => {
        if (inputs.length > maximumApplied)
          throw new PkiError(
            'REQUEST_TOO_LARGE',
            `an apply has at most ${maximumApplied} entries, this one has ${inputs.length}`,
          );
        const rights = await this.#dependencies.access.of(caller);
        rights.require('entry.write', { kind: 'none' });
        const present = await this.#all(signal);
        const planner = new EntryPlanner(
          {
            rights,
            judge: this.#judge,
            writes: this.#writesOf(caller),
            newId: () => this.#newId(),
          },
          present,
        );
        const { writes, unchanged, drafts } = planner.plan(inputs, prune);
        if (writes.length === 0) return { changes: [], unchanged, applied: !dryRun };
        // an early check for conflicts; the transaction checks again
        checkConflicts(
          sightOf(present),
          drafts,
          new Set([...writes.map(({ id }) => id), ...drafts.map(({ id }) => id)]),
          this.#dependencies.settings.trustDomain,
        );
        if (dryRun)
          return {
            changes: planned(writes, present, this.#dependencies.clock.now(), actorOf(caller)),
            unchanged,
            applied: false,
          };
        return {
          changes: await this.#write({ caller, signal }, writes, drafts),
          unchanged,
          applied: true,
        };
      },
    );
  }

  async #writable(
    rights: OperatorRights,
    id: string,
    signal: AbortSignal | undefined,
  ): Promise<RegistrationEntry> {
    rights.require('entry.write', { kind: 'none' });
    const before = await this.#dependencies.entries.byId(id, signal);
    if (before === undefined)
      throw new PkiError('NOT_FOUND', `there is no entry ${JSON.stringify(id.slice(0, 64))}`);
    requireWrite(rights, before);
    return before;
  }

  /**
   * Writes all in one commit. If the store refuses an entry, each entry is written on its own, so
   * that the others are not affected.
   */
  async #writeEach(
    by: WritingCall,
    operation: string,
    items: readonly Judged[],
  ): Promise<readonly EntryResult[]> {
    const writes = items.flatMap((item) => (item.ok ? [item.write] : []));
    const done = new Map<EntryWrite, EntryResult>();
    const together =
      writes.length > 1 ? await this.#write(by, writes).catch(() => undefined) : undefined;
    for (const [index, write] of writes.entries())
      done.set(
        write,
        together === undefined ? await this.#writeOne(by, write) : result(write, together[index]),
      );
    const results = items.map(
      (item): EntryResult => (item.ok ? (done.get(item.write) as EntryResult) : item),
    );
    const refused = results.filter((outcome) => !outcome.ok);
    await Promise.all(
      refused.map((outcome) =>
        this.#dependencies.refusals.refused(
          by.caller,
          operation,
          outcome.error,
          outcome.id.slice(0, 64),
        ),
      ),
    );
    return results;
  }

  async #writeOne(by: WritingCall, write: EntryWrite): Promise<EntryResult> {
    try {
      const [change] = await this.#write(by, [write]);
      return result(write, change);
    } catch (thrown) {
      return { ok: false, id: write.id, error: PkiError.from(thrown) };
    }
  }

  #write(
    { caller, signal }: WritingCall,
    writes: readonly EntryWrite[],
    alsoCheck: readonly EntryDraft[] = [],
  ): Promise<readonly EntryChange[]> {
    const written = writes.flatMap(({ draft }) => (draft === undefined ? [] : [draft]));
    const drafts = alsoCheck.length > 0 ? alsoCheck : written;
    const touched = new Set([...writes.map(({ id }) => id), ...drafts.map(({ id }) => id)]);
    const { trustDomain } = this.#dependencies.settings;
    return this.#dependencies.entries.write(
      writes,
      { now: this.#dependencies.clock.now(), createdBy: actorOf(caller), signal },
      {
        locks: ['entries'],
        reads: conflictReads(drafts),
        judge: (sight) => checkConflicts(sight, drafts, touched, trustDomain),
      },
    );
  }

  #writesOf(caller: OperatorCaller): EntryWrites {
    return new EntryWrites(actorOf(caller), this.#dependencies.clock);
  }

  /** Each later than the one before: of entries of one second, the order of IDs is that of the file. */
  #newId(): string {
    this.#lastIdMs = Math.max(this.#dependencies.clock.nowMs(), this.#lastIdMs + 1);
    return uuidv7(this.#lastIdMs);
  }

  async #all(signal: AbortSignal | undefined): Promise<ReadonlyMap<string, RegistrationEntry>> {
    const all = new Map<string, RegistrationEntry>();
    for await (const entries of pagesOf((page) => this.#dependencies.entries.list({}, page), {
      signal,
    }))
      for (const entry of entries) all.set(entry.id, entry);
    return all;
  }
}

interface WritingCall {
  readonly caller: OperatorCaller;
  readonly signal: AbortSignal | undefined;
}

type Judged =
  | { readonly ok: true; readonly write: EntryWrite }
  | { readonly ok: false; readonly id: string; readonly error: PkiError };

function judged(id: string, judge: () => EntryWrite): Judged {
  try {
    return { ok: true, write: judge() };
  } catch (thrown) {
    return { ok: false, id, error: PkiError.from(thrown) };
  }
}

const result = (write: EntryWrite, change: EntryChange | undefined): EntryResult => {
  const entry = change?.after ?? change?.before;
  return entry === undefined
    ? {
        ok: false,
        id: write.id,
        error: new PkiError('INTERNAL', 'the store returned no result for an entry'),
      }
    : { ok: true, id: write.id, entry };
};

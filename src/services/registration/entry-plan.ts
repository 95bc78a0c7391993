import { PkiError } from '../../common/errors/index.ts';
import type { EntryDraft, EntrySight, RegistrationEntry } from '../../domain/index.ts';
import type { EntryChange, EntryWrite } from '../../store/ports/index.ts';
import type { OperatorRights } from '../callers/access.ts';
import type { EntryInput } from '../services.ts';
import { grantKey, isUnchanged } from './entry-diff.ts';
import { mayWrite, requireWrite, type EntryJudge } from './entry-judge.ts';
import type { EntryWrites } from './entry-writes.ts';

export interface EntryPlan {
  readonly writes: readonly EntryWrite[];
  readonly unchanged: number;
  readonly drafts: readonly EntryDraft[];
}

export interface EntryPlanDependencies {
  readonly rights: OperatorRights;
  readonly judge: EntryJudge;
  readonly writes: EntryWrites;
  readonly newId: () => string;
}

/**
 * Plans the writes of an apply. Owner of the list while it is made: stated IDs, stated grants, and
 * writes.
 */
export class EntryPlanner {
  readonly #dependencies: EntryPlanDependencies;
  readonly #present: ReadonlyMap<string, RegistrationEntry>;
  readonly #byGrant: ReadonlyMap<string, RegistrationEntry>;
  readonly #ids = new Set<string>();
  readonly #grants = new Set<string>();
  readonly #drafts: EntryDraft[] = [];
  readonly #writes: EntryWrite[] = [];
  #unchanged = 0;

  constructor(
    dependencies: EntryPlanDependencies,
    present: ReadonlyMap<string, RegistrationEntry>,
  ) {
    this.#dependencies = dependencies;
    this.#present = present;
    this.#byGrant = new Map([...present.values()].map((entry) => [grantKey(entry), entry]));
  }

  plan(inputs: readonly EntryInput[], prune: boolean): EntryPlan {
    for (const [index, input] of inputs.entries()) this.#add(input, index + 1);
    if (prune) this.#prune();
    return { writes: this.#writes, unchanged: this.#unchanged, drafts: this.#drafts };
  }

  #add(input: EntryInput, number: number): void {
    const { rights, judge, writes, newId } = this.#dependencies;
    const position = `entry ${number} (${(input.id || input.spiffeId).slice(0, 200)})`;
    const twin = input.id === '' ? this.#byGrant.get(grantKey(input)) : undefined;
    const id = input.id === '' ? (twin?.id ?? newId()) : input.id;
    const before = this.#present.get(twin?.id ?? input.id);
    const draft = located(position, () => judge.draft(rights, { ...input, id }, before));
    this.#claim(position, draft);
    if (before === undefined) this.#writes.push(writes.create(draft));
    else if (isUnchanged(before, draft)) this.#unchanged += 1;
    else {
      located(position, () => requireWrite(rights, before));
      this.#writes.push(writes.update(before, draft));
    }
  }

  #claim(position: string, draft: EntryDraft): void {
    if (this.#ids.has(draft.id))
      throw new PkiError('INVALID_REQUEST', `${position}: the ID ${draft.id} appears twice`);
    const grant = grantKey(draft);
    if (this.#grants.has(grant))
      throw new PkiError(
        'ALREADY_EXISTS',
        `${position}: another entry has the same SPIFFE ID, parent and selectors`,
      );
    this.#ids.add(draft.id);
    this.#grants.add(grant);
    this.#drafts.push(draft);
  }

  #prune(): void {
    const { rights, writes } = this.#dependencies;
    for (const entry of this.#present.values())
      if (!this.#ids.has(entry.id) && mayWrite(rights, entry))
        this.#writes.push(writes.delete(entry));
  }
}

export function sightOf(present: ReadonlyMap<string, RegistrationEntry>): EntrySight {
  const all = [...present.values()];
  const byId = Map.groupBy(all, ({ spiffeId }) => spiffeId);
  return {
    bySpiffeId: (spiffeId) => byId.get(spiffeId) ?? [],
    templates: () => all.filter(({ isTemplate }) => isTemplate),
    statedBelow: (prefix) =>
      all.filter((entry) => !entry.isTemplate && entry.spiffeId.startsWith(prefix)),
  };
}

/** The changes of a dry run. Entries that do not exist yet have revision 0. */
export function planned(
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
            createdOrder: before?.createdOrder ?? 0,
          };
    return { action, before, after };
  });
}

/** Adds the position of the entry to an error, since an apply has many entries. */
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

import type { PkiError } from '../../common/errors/index.ts';
import type { EntryDraft, RegistrationEntry } from '../../domain/index.ts';
import type { EntryChange, EntryFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export type EntryResult =
  | { readonly ok: true; readonly id: string; readonly entry: RegistrationEntry }
  | { readonly ok: false; readonly id: string; readonly error: PkiError };

/**
 * An entry as its creator states it. With an empty `id` the server assigns one. `isTemplate` is
 * derived. Selectors may come in any order.
 */
export type EntryInput = Omit<EntryDraft, 'isTemplate'>;

export interface ApplyOptions {
  readonly prune: boolean;
  readonly dryRun: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * `signal`: aborted when nobody waits for the answer any more. What is not being written by then is
 * not written (CANCELLED).
 */
export interface Entries {
  /** Results per item; up to 500 items. */
  create(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    signal?: AbortSignal,
  ): Promise<readonly EntryResult[]>;
  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<RegistrationEntry>;
  /** Only entries that the caller's roles may read. A page may hold fewer than `size`. */
  list(
    caller: OperatorCaller,
    filter: EntryFilter,
    page: PageRequest,
  ): Promise<Page<RegistrationEntry>>;
  /**
   * Replaces the whole entry. A `revision` other than 0 must be the present one (else CONFLICT).
   */
  update(
    caller: OperatorCaller,
    input: EntryInput,
    revision: number,
    signal?: AbortSignal,
  ): Promise<RegistrationEntry>;
  delete(
    caller: OperatorCaller,
    ids: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly EntryResult[]>;
  /**
   * All or nothing. Entries are matched by ID; those without an ID by SPIFFE ID, parent and
   * selectors. `prune` deletes all other entries that the caller may write.
   */
  apply(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    options: ApplyOptions,
  ): Promise<{
    readonly changes: readonly EntryChange[];
    readonly unchanged: number;
    readonly applied: boolean;
  }>;
}

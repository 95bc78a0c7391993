import type { Clock } from '../../common/runtime/index.ts';
import type { EntryDraft, RegistrationEntry } from '../../domain/index.ts';
import type { EntryWrite } from '../../store/ports/index.ts';
import { entryEvent } from './entry-events.ts';

/** The writes of one operator, each with its audit event. */
export class EntryWrites {
  readonly #actor: string;
  readonly #clock: Clock;

  constructor(actor: string, clock: Clock) {
    this.#actor = actor;
    this.#clock = clock;
  }

  create(draft: EntryDraft): EntryWrite {
    return {
      action: 'create',
      id: draft.id,
      draft,
      revision: 0,
      event: entryEvent('create', draft, this.#actor, this.#clock.nowMs()),
    };
  }

  /** Replaces the entry at the revision that was checked. A change in between is a CONFLICT. */
  update(before: RegistrationEntry, draft: EntryDraft): EntryWrite {
    return {
      action: 'update',
      id: draft.id,
      draft,
      revision: before.revision,
      event: entryEvent('update', draft, this.#actor, this.#clock.nowMs()),
    };
  }

  delete(before: RegistrationEntry): EntryWrite {
    return {
      action: 'delete',
      id: before.id,
      revision: before.revision,
      event: entryEvent('delete', before, this.#actor, this.#clock.nowMs()),
    };
  }
}

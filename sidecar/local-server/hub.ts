import type { BundleSource } from '../ports/bundles.ts';
import type { EntryCache } from '../ports/entries.ts';

export interface Subscriber {
  entriesChanged(): void;
  bundlesChanged(): void;
}

/**
 * Passes changes on to the streams. Thousands of streams share one subscription, and a change
 * reaches them in slices so that the event loop keeps turning.
 */
export interface Hub {
  add(subscriber: Subscriber): () => void;
  /** Counts the changes of the bundles. A value made at an older count is stale. */
  bundleGeneration(): number;
  close(): void;
}

const slice = 64;

/** Emptied when its stream leaves: see LocalConnection on what tables leave behind. */
interface Member {
  subscriber: Subscriber | undefined;
}

export function createHub(
  entries: Pick<EntryCache, 'onChange'>,
  bundles: Pick<BundleSource, 'onChange'>,
): Hub {
  const members = new Set<Member>();
  const waiting = { entries: new Set<Member>(), bundles: new Set<Member>() };
  const sets = [members, waiting.entries, waiting.bundles];
  let generation = 0;
  let scheduled = false;

  const work = (): void => {
    scheduled = false;
    let done = 0;
    for (const kind of ['bundles', 'entries'] as const) {
      for (const each of waiting[kind]) {
        if (done >= slice) return schedule();
        waiting[kind].delete(each);
        done += 1;
        if (kind === 'entries') each.subscriber?.entriesChanged();
        else each.subscriber?.bundlesChanged();
      }
    }
  };

  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(work);
  };

  const notify = (kind: 'entries' | 'bundles'): void => {
    for (const each of members) waiting[kind].add(each);
    schedule();
  };

  const unsubscribe = [
    entries.onChange(() => notify('entries')),
    bundles.onChange(() => {
      generation += 1;
      notify('bundles');
    }),
  ];

  return {
    add(subscriber) {
      const member: Member = { subscriber };
      members.add(member);
      return () => {
        member.subscriber = undefined;
        for (const set of sets) set.delete(member);
      };
    },
    bundleGeneration: () => generation,
    close() {
      for (const each of unsubscribe) each();
      for (const set of sets) set.clear();
    },
  };
}

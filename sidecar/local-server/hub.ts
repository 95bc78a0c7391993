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

export function createHub(
  entries: Pick<EntryCache, 'onChange'>,
  bundles: Pick<BundleSource, 'onChange'>,
): Hub {
  const subscribers = new Set<Subscriber>();
  const waiting = { entries: new Set<Subscriber>(), bundles: new Set<Subscriber>() };
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
        if (kind === 'entries') each.entriesChanged();
        else each.bundlesChanged();
      }
    }
  };

  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(work);
  };

  const notify = (kind: 'entries' | 'bundles'): void => {
    for (const each of subscribers) waiting[kind].add(each);
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
      subscribers.add(subscriber);
      return () => {
        subscribers.delete(subscriber);
        waiting.entries.delete(subscriber);
        waiting.bundles.delete(subscriber);
      };
    },
    bundleGeneration: () => generation,
    close() {
      for (const each of unsubscribe) each();
      subscribers.clear();
      waiting.entries.clear();
      waiting.bundles.clear();
    },
  };
}

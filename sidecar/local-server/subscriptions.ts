import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldX509Svid, SvidSubscription, SvidManager } from '../ports/svids.ts';

interface OpenSubscription {
  readonly subscription: SvidSubscription;
  readonly unsubscribe: () => void;
  failure: PkiError | undefined;
  settled: boolean;
}

/** The subscriptions of one stream, in step with its identities. */
export interface SubscriptionSet {
  /** Acquires and releases subscriptions until exactly these identities have one. */
  hold(identities: readonly Identity[], selectors: readonly Selector[]): void;
  /**
   * Resolves when each subscription has an SVID or an error, or after `atMostMs`. Undefined if
   * there is nothing to wait for.
   */
  settle(atMostMs: number): Promise<void> | undefined;
  /** The SVIDs that are there, in the order of the identities. */
  current(): readonly HeldX509Svid[];
  firstFailure(): PkiError | undefined;
  confirm(svids: readonly HeldX509Svid[]): void;
  release(): void;
}

export function createSubscriptionSet(
  svids: SvidManager,
  clock: Clock,
  onUpdate: () => void,
): SubscriptionSet {
  let open = new Map<string, OpenSubscription>();
  // made for who waits alone: most streams find their SVIDs there, and an error holds a stack
  let abort: AbortController | undefined;

  return {
    hold(identities, selectors) {
      const next = new Map<string, OpenSubscription>();
      for (const identity of identities) {
        const key = identityKey(identity);
        next.set(key, open.get(key) ?? opened(svids.acquire(identity, selectors), onUpdate));
      }
      for (const [key, entry] of open) if (!next.has(key)) drop(entry);
      open = next;
    },
    settle(atMostMs) {
      const waiting = [...open.values()].filter((entry) => !entry.settled);
      if (waiting.length === 0) return undefined;
      const { signal } = (abort ??= new AbortController());
      return new Promise((resolve) => {
        const cancel = clock.after(atMostMs, resolve);
        const ready = waiting.map((entry) =>
          entry.subscription.ready(signal).then(
            () => void (entry.settled = true),
            (thrown: unknown) => {
              entry.settled = true;
              entry.failure = PkiError.from(thrown);
            },
          ),
        );
        void Promise.all(ready).then(() => {
          cancel();
          resolve();
        });
      });
    },
    current: () => [...open.values()].flatMap((entry) => entry.subscription.current() ?? []),
    firstFailure: () => [...open.values()].find((entry) => entry.failure !== undefined)?.failure,
    confirm(read) {
      for (const svid of read)
        open.get(identityKey(svid.identity))?.subscription.confirm(svid.serial);
    },
    release() {
      abort?.abort(new PkiError('CANCELLED', 'the stream ended'));
      for (const entry of open.values()) drop(entry);
      open = new Map();
    },
  };
}

const opened = (subscription: SvidSubscription, onUpdate: () => void): OpenSubscription => ({
  subscription,
  unsubscribe: subscription.onUpdate(onUpdate),
  failure: undefined,
  settled: subscription.current() !== undefined,
});

function drop({ subscription, unsubscribe }: OpenSubscription): void {
  unsubscribe();
  subscription.release();
}

import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldX509Svid, SvidLease, SvidManager } from '../ports/svids.ts';

interface Held {
  readonly lease: SvidLease;
  readonly unsubscribe: () => void;
  failure: PkiError | undefined;
  settled: boolean;
}

/** The leases of one stream, in step with its identities. */
export interface LeaseSet {
  /** Acquires and releases until exactly these are held. */
  hold(identities: readonly Identity[], selectors: readonly Selector[]): void;
  /**
   * Resolves when each lease has an SVID or an error, or after `atMostMs`. undefined: nothing to
   * wait for.
   */
  settle(atMostMs: number): Promise<void> | undefined;
  /** In the order of the identities, the default first. */
  current(): readonly HeldX509Svid[];
  firstFailure(): PkiError | undefined;
  confirm(svids: readonly HeldX509Svid[]): void;
  release(): void;
}

export function createLeaseSet(svids: SvidManager, clock: Clock, onUpdate: () => void): LeaseSet {
  let held = new Map<string, Held>();
  const abort = new AbortController();

  const acquire = (identity: Identity, selectors: readonly Selector[]): Held => {
    const lease = svids.acquire(identity, selectors);
    const each: Held = {
      lease,
      unsubscribe: lease.onUpdate(onUpdate),
      failure: undefined,
      settled: lease.current() !== undefined,
    };
    return each;
  };

  return {
    hold(identities, selectors) {
      const next = new Map<string, Held>();
      for (const identity of identities) {
        const key = identityKey(identity);
        next.set(key, held.get(key) ?? acquire(identity, selectors));
      }
      for (const [key, each] of held) if (!next.has(key)) drop(each);
      held = next;
    },
    settle(atMostMs) {
      const waiting = [...held.values()].filter((each) => !each.settled);
      if (waiting.length === 0) return undefined;
      return new Promise((resolve) => {
        const cancel = clock.after(atMostMs, resolve);
        const ready = waiting.map((each) =>
          each.lease.ready(abort.signal).then(
            () => void (each.settled = true),
            (thrown: unknown) => {
              each.settled = true;
              each.failure = PkiError.from(thrown);
            },
          ),
        );
        void Promise.all(ready).then(() => {
          cancel();
          resolve();
        });
      });
    },
    current: () => [...held.values()].flatMap((each) => each.lease.current() ?? []),
    firstFailure: () => [...held.values()].find((each) => each.failure !== undefined)?.failure,
    confirm(read) {
      for (const svid of read) held.get(identityKey(svid.identity))?.lease.confirm(svid.serial);
    },
    release() {
      abort.abort(new PkiError('CANCELLED', 'the stream ended'));
      for (const each of held.values()) drop(each);
      held = new Map();
    },
  };
}

function drop(held: Held): void {
  held.unsubscribe();
  held.lease.release();
}

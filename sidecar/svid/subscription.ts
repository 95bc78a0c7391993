import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { HeldX509Svid, SvidSubscription } from '../ports/svids.ts';
import type { HeldRecord, SubscriptionSink } from './held-record.ts';

export interface SubscriptionDependencies {
  readonly current: () => HeldX509Svid | undefined;
  readonly replaced: (serial: string) => void;
  readonly released: () => void;
  readonly clock: Clock;
  readonly deadlineMs: number;
  readonly connected: () => boolean;
}

interface Waiter {
  readonly resolve: (svid: HeldX509Svid) => void;
  readonly reject: (error: unknown) => void;
}

/** One holder's subscription to the SVIDs of an identity, from `acquire` to `release`. */
export class X509Subscription implements SvidSubscription, SubscriptionSink {
  readonly #record: HeldRecord;
  readonly #dependencies: SubscriptionDependencies;
  readonly #listeners = new Set<(svid: HeldX509Svid) => void>();
  readonly #waiters = new Set<Waiter>();
  #released = false;

  constructor(record: HeldRecord, dependencies: SubscriptionDependencies) {
    this.#record = record;
    this.#dependencies = dependencies;
  }

  current(): HeldX509Svid | undefined {
    return this.#released ? undefined : this.#dependencies.current();
  }

  ready(signal?: AbortSignal): Promise<HeldX509Svid> {
    const current = this.current();
    if (current !== undefined) return Promise.resolve(current);
    if (this.#released || this.#record.dropped || this.#record.withdrawn)
      return Promise.reject(
        new PkiError('ENTRY_NOT_AUTHORIZED', 'this identity is no longer given'),
      );
    const { refusal, refusedUntilMonotonicMs } = this.#record;
    if (refusal !== undefined && refusedUntilMonotonicMs > this.#dependencies.clock.monotonicMs())
      return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (svid) => {
          end();
          resolve(svid);
        },
        reject: (error) => {
          end();
          reject(error as Error);
        },
      };
      const onAbort = (): void =>
        waiter.reject(
          signal?.reason ?? new PkiError('CANCELLED', 'the wait for an SVID was given up'),
        );
      const cancel = this.#dependencies.clock.after(this.#dependencies.deadlineMs, () =>
        waiter.reject(
          new PkiError(
            'UNREACHABLE',
            this.#dependencies.connected()
              ? 'the server did not issue the SVID in time'
              : 'the agent has no connection to the server at the moment',
          ),
        ),
      );
      const end = (): void => {
        cancel();
        signal?.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
      };
      this.#waiters.add(waiter);
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  onUpdate(listener: (svid: HeldX509Svid) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  confirm(serial: string): void {
    const { replaced, svid } = this.#record;
    // all generations before the one that was read
    const read =
      serial === svid?.serial
        ? replaced.length
        : replaced.findIndex((older) => older.serial === serial);
    for (const generation of replaced.slice(0, Math.max(0, read))) {
      if (!generation.holders.delete(this) || generation.holders.size > 0) continue;
      this.#record.replaced = this.#record.replaced.filter((older) => older !== generation);
      this.#dependencies.replaced(generation.serial);
    }
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#record.subscriptions.delete(this);
    // whoever leaves may go on using what it has in hand: neither the present SVID nor one it had
    // not yet replaced is proven
    if (this.#record.svid !== undefined) this.#record.lost = true;
    this.#record.replaced = this.#record.replaced.filter(({ holders }) => !holders.has(this));
    for (const waiter of [...this.#waiters])
      waiter.reject(new PkiError('CANCELLED', 'the subscription was released'));
    this.#listeners.clear();
    this.#dependencies.released();
  }

  updated(svid: HeldX509Svid): void {
    for (const waiter of [...this.#waiters]) waiter.resolve(svid);
    for (const listener of [...this.#listeners]) listener(svid);
  }

  failed(error: PkiError): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }
}

const maximumGenerations = 16;

/**
 * A record has a new SVID: the one before waits for its holders to read the new one. With no holder
 * ever, it is replaced at once.
 */
export function noteReplaced(
  record: HeldRecord,
  previous: HeldX509Svid | undefined,
  replaced: (serial: string) => void,
): void {
  if (previous === undefined || record.lost) {
    record.lost = false;
    return;
  }
  if (record.subscriptions.size === 0) replaced(previous.serial);
  else
    record.replaced = [
      ...record.replaced.slice(1 - maximumGenerations),
      { serial: previous.serial, holders: new Set(record.subscriptions) },
    ];
}

import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Caller, DelegateCaller } from './caller.ts';
import type { CallerRegistry } from './caller-registry.ts';
import { refusing, type RefusalLog } from './refusal-log.ts';

export interface DelegateStreamDependencies {
  readonly callers: Pick<CallerRegistry, 'stillStands' | 'onInvalidated'>;
  readonly refusals: RefusalLog;
  readonly clock: Pick<Clock, 'after'>;
}

/** One open stream of a control plane. */
export interface OpenStream {
  /** As it stood when it was last checked. */
  readonly caller: DelegateCaller;
  closed(): void;
}

/** Streams of one identity at once, of all its processes. Each holds a bounded memory. */
const maximumStreams = { SignStream: 64, WatchBundle: 256 } as const;

/** No change announces that a delegation expires. */
const checkEveryMs = 15_000;

interface Registered extends OpenStream {
  caller: DelegateCaller;
  readonly end: (error: PkiError) => void;
}

/**
 * The streams of control planes. After each change the rights of their callers are checked again, so
 * that a stream ends with the delegation, also while it is idle. It ends with its connection in any
 * case. Owner of the register of streams.
 */
export class DelegateStreams {
  readonly #dependencies: DelegateStreamDependencies;
  readonly #open = new Map<string, Set<Registered>>();
  readonly #stopListening: () => void;
  #cancelTimer: (() => void) | undefined;
  #checking = false;
  #again = false;
  #over = false;

  constructor(dependencies: DelegateStreamDependencies) {
    this.#dependencies = dependencies;
    this.#stopListening = dependencies.callers.onInvalidated(() => this.#check());
  }

  /** `create` gets the registered stream. `end` is called at most once, with what ended it. */
  open<T>(
    caller: DelegateCaller,
    operation: keyof typeof maximumStreams,
    create: (stream: OpenStream) => T | Promise<T>,
    end: (error: PkiError) => void,
  ): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation }, async () => {
      if (this.#over) throw new PkiError('SHUTTING_DOWN', 'the server is shutting down');
      const standing = await this.standing(caller);
      const key = `${operation} ${caller.spiffeId}`;
      const streams = this.#open.get(key) ?? new Set<Registered>();
      const limit = maximumStreams[operation];
      if (streams.size >= limit)
        throw new PkiError(
          'OVERLOADED',
          `${caller.spiffeId} has ${limit} streams of ${operation} open`,
        );
      const registered: Registered = {
        caller: standing,
        end,
        closed: () => {
          streams.delete(registered);
          if (streams.size === 0 && this.#open.get(key) === streams) this.#open.delete(key);
        },
      };
      this.#open.set(key, streams.add(registered));
      this.#watchTime();
      try {
        return await create(registered);
      } catch (thrown) {
        registered.closed();
        throw thrown;
      }
    });
  }

  /** @throws PkiError what refuses this caller by now */
  async standing(caller: DelegateCaller): Promise<DelegateCaller> {
    const now: Caller = await this.#dependencies.callers.stillStands(caller);
    if (now.class !== 'delegate')
      throw new PkiError('CALLER_NOT_ADMITTED', `${caller.spiffeId} has no active delegation`);
    return now;
  }

  close(): void {
    this.#over = true;
    this.#stopListening();
    this.#cancelTimer?.();
    for (const registered of this.#all())
      this.#end(registered, new PkiError('SHUTTING_DOWN', 'the server is shutting down'));
  }

  #watchTime(): void {
    this.#cancelTimer ??= this.#dependencies.clock.after(checkEveryMs, () => {
      this.#cancelTimer = undefined;
      this.#check();
      if (this.#open.size > 0 && !this.#over) this.#watchTime();
    });
  }

  /** Changes that come during a check share the next one. */
  #check(): void {
    this.#again = true;
    if (this.#checking) return;
    this.#checking = true;
    void this.#checks().finally(() => (this.#checking = false));
  }

  async #checks(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      for (const registered of this.#all()) {
        try {
          registered.caller = await this.standing(registered.caller);
        } catch (thrown) {
          this.#end(registered, PkiError.from(thrown));
        }
      }
    }
  }

  #all(): readonly Registered[] {
    return [...this.#open.values()].flatMap((streams) => [...streams]);
  }

  #end(registered: Registered, error: PkiError): void {
    registered.closed();
    registered.end(error);
  }
}

import { PkiError } from '../../common/errors/index.ts';
import { Crowd } from '../../common/runtime/index.ts';

/** How many calls of callers without a role may be under way at once, streams included. */
export interface GuestCallLimits {
  readonly perConnection: number;
  /** Of one address. */
  readonly perHolder: number;
  readonly inAll: number;
}

interface GuestCall {
  readonly end: (error: PkiError) => void;
}

/**
 * Bounds the calls of guests: a stream of Health/Watch, or a request that is never finished, holds
 * some 16 KiB here and costs its caller nothing. An attestation takes milliseconds, so that the
 * oldest call of the address that has most gives way. Owner of the calls under way.
 */
export class GuestCalls {
  readonly #limits: GuestCallLimits;
  readonly #calls = new Crowd<GuestCall>();
  readonly #perConnection = new Map<string, number>();

  constructor(limits: GuestCallLimits) {
    this.#limits = limits;
  }

  /** Counts a call until the returned function is called; `end` says that it is one too many. */
  enter(
    { key, holder }: { readonly key: string; readonly holder: string },
    end: (error: PkiError) => void,
  ): () => void {
    const { perConnection, perHolder, inAll } = this.#limits;
    const open = this.#perConnection.get(key) ?? 0;
    if (open >= perConnection) {
      end(overloaded(`a connection has more than ${perConnection} calls under way`));
      return () => {};
    }
    this.#perConnection.set(key, open + 1);
    const call: GuestCall = { end };
    this.#calls.add(call, holder);
    if (this.#calls.count(holder) > perHolder)
      this.#end(
        this.#calls.oldestOf(holder),
        `an address has more than ${perHolder} calls under way`,
      );
    else if (this.#calls.size > inAll)
      this.#end(this.#calls.victim(), `strangers have more than ${inAll} calls under way`);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#calls.delete(call);
      const rest = (this.#perConnection.get(key) ?? 1) - 1;
      if (rest === 0) this.#perConnection.delete(key);
      else this.#perConnection.set(key, rest);
    };
  }

  #end(call: GuestCall | undefined, why: string): void {
    if (call === undefined) return;
    this.#calls.delete(call);
    call.end(overloaded(why));
  }
}

const overloaded = (why: string): PkiError =>
  new PkiError('OVERLOADED', `${why}, of callers without a role here`);

/** The part of a call that can hold its caller back. */
export interface PausableCall {
  pause(): unknown;
  resume(): unknown;
}

/**
 * Handles the messages of a call one at a time, in order. While one is handled, the further ones stay
 * in the socket of the caller. Owner of the pause of the call. `failed` is called with what a
 * message threw; the call then stays paused.
 */
export class InTurns<Message> {
  readonly #call: PausableCall;
  readonly #handle: (message: Message) => Promise<void>;
  readonly #failed: (thrown: unknown) => void;
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(
    call: PausableCall,
    handle: (message: Message) => Promise<void>,
    failed: (thrown: unknown) => void,
  ) {
    this.#call = call;
    this.#handle = handle;
    this.#failed = failed;
  }

  take(message: Message): void {
    if (++this.#waiting === 1) this.#call.pause();
    this.#work = this.#work
      .then(() => this.#handle(message))
      .then(
        () => {
          if (--this.#waiting === 0) this.#call.resume();
        },
        (thrown: unknown) => this.#failed(thrown),
      );
  }

  /** Resolves when everything that was taken is handled. */
  handled(): Promise<void> {
    return this.#work;
  }
}

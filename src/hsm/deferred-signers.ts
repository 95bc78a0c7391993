import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { isFinal } from './ckr.ts';
import type { MacKeyHandle } from './mac-port.ts';
import type { KeyHandle, SignItem, SignOutcome, SignersState } from './signing-port.ts';
import { failedOutcome } from './sign-queue.ts';
import type { ManagedSigners } from './signers.ts';

const retryMs = { first: 5_000, longest: 60_000 };

/**
 * Signers of a token that the server can do without for some time. The server starts without the
 * token and keeps trying to open the signers. A wrong or locked PIN is not tried again, because
 * that would lock the token. Owner of the signers once they are open.
 */
export class DeferredSigners implements ManagedSigners {
  readonly #open: () => Promise<ManagedSigners>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #listeners = new Set<(state: SignersState) => void>();
  #inner: ManagedSigners | undefined;
  #error: PkiError | undefined;
  #closed = false;
  #cancel: (() => void) | undefined;
  #opening: Promise<void> | undefined;
  #retry = retryMs.first;

  constructor(options: {
    /** Reads the PIN anew each time. */
    readonly open: () => Promise<ManagedSigners>;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#open = options.open;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /** Resolves after the first attempt, with any outcome. */
  start(): Promise<void> {
    this.#opening ??= this.#attempt().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  useKey(key: KeyHandle): Promise<void> {
    return this.#inner === undefined ? Promise.reject(this.#absent()) : this.#inner.useKey(key);
  }

  useMacKey(key: MacKeyHandle): Promise<void> {
    return this.#inner?.useMacKey(key) ?? Promise.reject(this.#absent());
  }

  mac(ckaId: string, input: Buffer): Promise<Buffer> {
    return this.#inner?.mac(ckaId, input) ?? Promise.reject(this.#absent());
  }

  forgetKey(ckaId: string): Promise<void> {
    return this.#inner?.forgetKey(ckaId) ?? Promise.resolve();
  }

  sign(items: readonly SignItem[], signal?: AbortSignal): Promise<readonly SignOutcome[]> {
    if (this.#inner !== undefined) return this.#inner.sign(items, signal);
    const { code, message } = this.#absent();
    return Promise.resolve(items.map(() => failedOutcome(code, message)));
  }

  state(): SignersState {
    if (this.#inner !== undefined) return this.#inner.state();
    const status = this.#closed
      ? 'closed'
      : this.#error === undefined
        ? 'starting'
        : isFinal(this.#error.code)
          ? 'fatal'
          : 'open';
    return {
      status,
      reason: this.#error === undefined ? undefined : `${this.#error.code}: ${this.#error.message}`,
      code: this.#error?.code,
      signers: 0,
      signersReady: 0,
      respawns: 0,
      inFlight: 0,
      signatures: 0,
      chunks: 0,
    };
  }

  onChange(listener: (state: SignersState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  pids(): readonly number[] {
    return this.#inner?.pids() ?? [];
  }

  invalidateSessions(): void {
    this.#inner?.invalidateSessions();
  }

  /** Without open signers the next attempt is made now. It reads the PIN anew. */
  async changePin(pin: string): Promise<boolean> {
    if (this.#inner !== undefined) return this.#inner.changePin(pin);
    this.#cancel?.();
    await this.start();
    if (this.#inner === undefined) throw this.#error ?? this.#absent();
    return true;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#opening;
    await this.#inner?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #absent(): PkiError {
    return new PkiError(
      this.#error !== undefined && isFinal(this.#error.code) ? this.#error.code : 'HSM_UNAVAILABLE',
      `the token is not open${this.#error === undefined ? '' : `: ${this.#error.message}`}`,
    );
  }

  async #attempt(): Promise<void> {
    try {
      const opened = await this.#open();
      if (this.#closed) {
        await opened.close();
        return;
      }
      this.#inner = opened;
      this.#error = undefined;
      opened.onChange(() => this.#tell());
    } catch (thrown) {
      this.#error = PkiError.from(thrown, 'HSM_UNAVAILABLE');
      const { code } = this.#error;
      const final = isFinal(code);
      this.#logger.error(
        { ...errorFields(this.#error), alert: true, ...(final ? {} : { retryMs: this.#retry }) },
        final
          ? 'the token can not be used; the server does not try again before it has read another PIN (SIGHUP)'
          : 'the token is not reachable; trying again',
      );
      if (!final && !this.#closed)
        this.#cancel = this.#clock.after(this.#retry, () => void this.start());
      this.#retry = Math.min(this.#retry * 2, retryMs.longest);
    }
    this.#tell();
  }

  #tell(): void {
    const state = this.state();
    for (const listener of this.#listeners) listener(state);
  }
}

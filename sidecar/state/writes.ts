import { PkiError } from '../../src/common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../src/common/runtime/index.ts';

/** The directory that the files stand in. */
export interface VerifiedDirectory {
  /**
   * `held`: it is the directory that this agent locked. `retaken`: it was lost or replaced, and is
   * locked anew; what stood in it is gone. Throws STATE_LOCKED or STATE_UNUSABLE.
   */
  verify(): Promise<'held' | 'retaken'>;
}

export interface StateWritesDependencies {
  readonly directory: VerifiedDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A write failed. */
  readonly onFailure: () => void;
}

export interface Unkept {
  readonly file: string;
  /** Unix seconds. */
  readonly since: number;
  readonly error: PkiError;
}

interface Wanted {
  readonly write: () => Promise<void>;
  /** Written only while this other file is not owed. */
  readonly after: string | undefined;
}

const retry = { baseMs: 1_000, capMs: 30_000 };
/** How often an agent that has nothing to write looks whether its directory is still there. */
const verifyEveryMs = 5_000;

/**
 * What is to stand in the state directory, the newest content of each file. Owner of all writes to
 * it, one at a time. A write that fails stops nothing: it stays owed, is said, and is tried again
 * until it succeeds or something newer takes its place.
 */
export class StateWrites implements AsyncDisposable {
  readonly #dependencies: StateWritesDependencies;
  /** Of every file that this run knows, so that a directory that was lost can be filled again. */
  readonly #wanted = new Map<string, Wanted>();
  /** Files that do not stand as wanted; with the error once it was tried. */
  readonly #owed = new Map<string, { since: number; error: PkiError | undefined }>();
  readonly #listeners = new Set<() => void>();
  #writing: Promise<void> = Promise.resolve();
  #failures = 0;
  #cancel: (() => void) | undefined;
  #watching = false;
  #stopped = false;

  constructor(dependencies: StateWritesDependencies) {
    this.#dependencies = dependencies;
  }

  /** From now on looks whether the directory is still there, also while there is nothing to write. */
  watch(): void {
    this.#watching = true;
    this.#plan();
  }

  /**
   * Writes a file; returns whether it is kept from now on. Never throws: what is not kept stays
   * owed.
   */
  async put(file: string, write: () => Promise<void>, after?: string): Promise<boolean> {
    this.#wanted.set(file, { write, after });
    this.#owe(file);
    await this.flush();
    return !this.#owed.has(file);
  }

  /** A file that stands already: it is written again if the directory gets lost. */
  remember(file: string, write: () => Promise<void>, after?: string): void {
    if (!this.#wanted.has(file)) this.#wanted.set(file, { write, after });
  }

  kept(file: string): boolean {
    return this.#owed.get(file)?.error === undefined;
  }

  unkept(): readonly Unkept[] {
    return [...this.#owed].flatMap(([file, { since, error }]) =>
      error === undefined ? [] : [{ file, since, error }],
    );
  }

  /** Called when a file begins to be owed, or is kept again. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tries everything that is owed once. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeAll());
    return this.#writing;
  }

  /** Ends the writes that are under way first, so that nothing is written after the lock is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    const before = this.unkept().length;
    const lost = await this.#verify();
    for (const [file, { write, after }] of [...this.#wanted]) {
      if (!this.#owed.has(file)) continue;
      const error =
        lost ?? this.#owed.get(after ?? '')?.error ?? (await write().then(nothing, PkiError.from));
      if (error === undefined) this.#owed.delete(file);
      else this.#failed(file, error);
    }
    const unkept = this.unkept().length;
    this.#failures = unkept === 0 ? 0 : this.#failures + 1;
    if (before > 0 && unkept === 0)
      this.#dependencies.logger.info({}, 'the state directory keeps everything again');
    this.#plan();
    if (before !== unkept) for (const listener of this.#listeners) listener();
  }

  /** The reason why nothing can be written. */
  async #verify(): Promise<PkiError | undefined> {
    const { directory, logger } = this.#dependencies;
    try {
      if ((await directory.verify()) === 'held') return undefined;
    } catch (thrown) {
      this.#oweAll();
      return PkiError.from(thrown);
    }
    logger.warn({}, 'the state directory was lost or replaced; it is written anew');
    this.#oweAll();
    return undefined;
  }

  #oweAll(): void {
    for (const file of this.#wanted.keys()) this.#owe(file);
  }

  #owe(file: string): void {
    if (!this.#owed.has(file))
      this.#owed.set(file, { since: this.#dependencies.clock.now(), error: undefined });
  }

  #failed(file: string, error: PkiError): void {
    const owed = this.#owed.get(file);
    if (owed === undefined) return;
    this.#dependencies.onFailure();
    if (owed.error === undefined)
      this.#dependencies.logger.error(
        { ...errorFields(error), file },
        'the state directory does not keep a file; the agent goes on in memory and tries again',
      );
    owed.error = error;
  }

  #plan(): void {
    this.#cancel?.();
    if (this.#stopped || (this.#failures === 0 && !this.#watching)) return;
    const delayMs =
      this.#failures === 0
        ? verifyEveryMs
        : Math.min(retry.capMs, retry.baseMs * 2 ** Math.min(10, this.#failures - 1));
    this.#cancel = this.#dependencies.clock.after(delayMs, () => void this.flush());
  }
}

const nothing = (): undefined => undefined;

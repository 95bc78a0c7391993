import type { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { FailingCommits } from '../ports/index.ts';
import { isStorageTrouble, storeError } from './sqlite-error.ts';

const probeEveryMs = 1_000;

/**
 * Since when nothing could be committed. Owner of that state. While commits fail a probe is written
 * each second, so that the end of the trouble shows though nobody writes.
 */
export class CommitHealth {
  readonly #clock: Clock;
  readonly #probe: () => void;
  #failing: { readonly sinceMs: number; error: PkiError } | undefined;
  #cancel: (() => void) | undefined;
  #stopped = false;

  /** `probe` starts a write, whose outcome is reported here as that of every other one. */
  constructor(clock: Clock, probe: () => void) {
    this.#clock = clock;
    this.#probe = probe;
  }

  succeeded(): void {
    this.#failing = undefined;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** What a write threw; a refusal by our own rules says nothing of the disk. */
  failed(thrown: unknown): void {
    if (this.#stopped || !isStorageTrouble(thrown)) return;
    const error = storeError(thrown);
    this.#failing = { sinceMs: this.#failing?.sinceMs ?? this.#clock.monotonicMs(), error };
    this.#cancel ??= this.#clock.after(probeEveryMs, () => {
      this.#cancel = undefined;
      if (!this.#stopped) this.#probe();
    });
  }

  get failing(): FailingCommits | undefined {
    if (this.#failing === undefined) return undefined;
    const { sinceMs, error } = this.#failing;
    return { seconds: (this.#clock.monotonicMs() - sinceMs) / 1000, error };
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }
}

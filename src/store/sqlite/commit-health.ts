import type { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { FailingCommits } from '../ports/index.ts';
import { isStorageTrouble, storeError } from './sqlite-error.ts';

const probeEveryMs = 1_000;

/**
 * Owner of the time since which no commit succeeded. While commits fail, a probe is written each
 * second, so that the end of the trouble is noticed without a caller's write.
 */
export class CommitHealth {
  readonly #clock: Clock;
  readonly #probe: () => void;
  #failing: { readonly sinceMs: number; error: PkiError } | undefined;
  #cancel: (() => void) | undefined;
  #stopped = false;

  /** `probe` starts a write. Its outcome is reported here like that of every other write. */
  constructor(clock: Clock, probe: () => void) {
    this.#clock = clock;
    this.#probe = probe;
  }

  succeeded(): void {
    this.#failing = undefined;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Reports what a write threw. A refusal by our own rules tells nothing of the disk. */
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

  close(): void {
    this.#stopped = true;
    this.#cancel?.();
  }
}

import type { Clock } from '../../common/runtime/index.ts';
import type { SyncMessage } from '../services.ts';

/** Checkpoints of the audit log: given to agents, who show them again when they come back. */
export interface Checkpoints {
  /** The newest as a signed note. */
  latest(): string | undefined;
  onCheckpoint(listener: () => void): () => void;
  /**
   * One that an agent holds. What it means for the server is the owner's business; a false one
   * means nothing.
   */
  seen(note: string, agentId: string): Promise<void>;
}

/**
 * Checkpoints come twice a second under load; to thousands of agents only so often, the newest
 * last.
 */
const everyMs = 5_000;
const maximumBytes = 8 * 1024;

/** Hands the newest checkpoint to all sessions; owner of its message and of when it goes out. */
export class CheckpointOffers {
  readonly #checkpoints: Checkpoints;
  readonly #stop: () => void;
  #made: { readonly note: string; readonly message: SyncMessage } | undefined;
  #cancel: (() => void) | undefined;
  #atMs = -Infinity;

  constructor(
    checkpoints: Checkpoints,
    clock: Pick<Clock, 'after' | 'monotonicMs'>,
    tell: () => void,
  ) {
    this.#checkpoints = checkpoints;
    this.#stop = checkpoints.onCheckpoint(() => {
      this.#cancel ??= clock.after(Math.max(0, this.#atMs + everyMs - clock.monotonicMs()), () => {
        this.#cancel = undefined;
        this.#atMs = clock.monotonicMs();
        tell();
      });
    });
  }

  async seen(note: string, agentId: string): Promise<void> {
    if (note !== '' && note.length <= maximumBytes) await this.#checkpoints.seen(note, agentId);
  }

  /** One object for all sessions, so that it is encoded once. */
  readonly message = (): SyncMessage | undefined => {
    const note = this.#checkpoints.latest();
    if (note !== undefined && this.#made?.note !== note)
      this.#made = { note, message: { kind: 'checkpoint', note } };
    return this.#made?.message;
  };

  close(): void {
    this.#stop();
    this.#cancel?.();
  }
}

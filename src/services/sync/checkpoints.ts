import type { Clock } from '../../common/runtime/index.ts';
import type { SyncMessage } from '../services.ts';

/** Checkpoints of the audit log. Agents receive them and show them again when they reconnect. */
export interface Checkpoints {
  /** The newest checkpoint as a signed note. */
  latest(): string | undefined;
  onCheckpoint(listener: () => void): () => void;
  /**
   * Reports a checkpoint that an agent holds. The implementation decides what it means. An invalid
   * one is ignored.
   */
  seen(note: string, agentId: string): Promise<void>;
}

/** Under load there are two checkpoints per second. Agents get the newest at this interval. */
const everyMs = 5_000;
const maximumBytes = 8 * 1024;

/**
 * Offers the newest checkpoint to all sessions. Owner of its message and of the time at which it is
 * sent.
 */
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

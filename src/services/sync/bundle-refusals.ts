import { oneLine } from '../../common/runtime/index.ts';
import type { BundleRefusal } from './sync.ts';

const maximumTextLength = 400;

/**
 * Which connected agents refuse the bundle of this server, as each told. It is for display: what an
 * agent holds follows from its reports as a consumer. Owner of that memory.
 */
export class BundleRefusals {
  readonly #told = new Map<string, BundleRefusal>();

  /** @param refusal undefined: it takes every step, or is of an older release */
  told(agentId: string, refusal: BundleRefusal | undefined): void {
    if (refusal === undefined) {
      this.#told.delete(agentId);
      return;
    }
    const { sequence, heldSequence, code, message } = refusal;
    this.#told.set(agentId, {
      ...{ sequence, heldSequence },
      code: oneLine(code).slice(0, maximumTextLength).toWellFormed(),
      message: oneLine(message).slice(0, maximumTextLength).toWellFormed(),
    });
  }

  /** Its session is over. */
  gone(agentId: string): void {
    this.#told.delete(agentId);
  }

  of(agentId: string): BundleRefusal | undefined {
    return this.#told.get(agentId);
  }

  get size(): number {
    return this.#told.size;
  }
}

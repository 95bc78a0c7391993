import type { Clock } from '../../common/runtime/index.ts';
import { aheadOfAgents } from '../../domain/index.ts';

/**
 * The wall clocks of the connected agents, as each told its own with its hello. Between hellos they
 * are carried on by the monotonic clock, so that a later jump of the server's wall clock shows. Owner
 * of that memory.
 */
export class AgentClocks {
  readonly #clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  /** By agent: its wall clock at the zero of our monotonic clock. */
  readonly #zeroMs = new Map<string, number>();

  constructor(clock: Pick<Clock, 'nowMs' | 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** @param clockMs Unix milliseconds; 0: an agent of an older release, which tells none */
  told(agentId: string, clockMs: number): void {
    if (Number.isSafeInteger(clockMs) && clockMs > 0)
      this.#zeroMs.set(agentId, clockMs - this.#clock.monotonicMs());
    else this.#zeroMs.delete(agentId);
  }

  /** Its session is over. */
  gone(agentId: string): void {
    this.#zeroMs.delete(agentId);
  }

  /** Seconds that the server is ahead of most agents; 0: not beyond the tolerance. */
  aheadSeconds(toleranceSeconds: number): number {
    const nowMs = this.#clock.nowMs() - this.#clock.monotonicMs();
    return aheadOfAgents(
      [...this.#zeroMs.values()].map((zeroMs) => (nowMs - zeroMs) / 1000),
      toleranceSeconds,
    );
  }
}

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { LoopFigures } from './server-messages.ts';

const resolutionMs = 1;
const nanosecondsPerMs = 1e6;

/**
 * How long the event loop of this process was blocked: by the clock, and by the time that its
 * thread had a processor, which other processes on the machine do not lengthen.
 */
export class LoopWatch {
  readonly #delays = monitorEventLoopDelay({ resolution: resolutionMs });
  #worked = process.threadCpuUsage();
  #longestWorkMs = 0;

  constructor() {
    this.#delays.enable();
    setInterval(() => this.#look(), resolutionMs).unref();
  }

  /** Since the last call. A delay contains the time between two looks. */
  take(): LoopFigures {
    const { max } = this.#delays;
    this.#delays.reset();
    const longestWorkMs = this.#longestWorkMs;
    this.#longestWorkMs = 0;
    return {
      longestMs: Math.max(0, max / nanosecondsPerMs - resolutionMs),
      longestWorkMs,
      rssBytes: process.memoryUsage.rss(),
    };
  }

  #look(): void {
    const { user, system } = process.threadCpuUsage(this.#worked);
    this.#worked = process.threadCpuUsage();
    this.#longestWorkMs = Math.max(this.#longestWorkMs, (user + system) / 1000 - resolutionMs);
  }
}

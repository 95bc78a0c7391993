import { PkiError, fail, type Result } from '../../../src/common/errors/index.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Applied, Driver, DriverCall } from '../driver.ts';

type Step<T> = (call: DriverCall, signal: AbortSignal) => Promise<Result<T>>;

/**
 * A driver whose steps end in time and never throw. What a step throws becomes DRIVER_FAILED, and a
 * step that its limit ended DRIVER_TIMEOUT.
 */
export class BoundedDriver implements Driver {
  readonly #type: string;
  readonly #inner: Driver;
  readonly #limitMs: number;
  readonly #clock: Clock;

  constructor(type: string, inner: Driver, limitMs: number, clock: Clock) {
    this.#type = type;
    this.#inner = inner;
    this.#limitMs = limitMs;
    this.#clock = clock;
  }

  stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#run('stage', (...given) => this.#inner.stage(...given), call, signal);
  }

  apply(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.#run('apply', (...given) => this.#inner.apply(...given), call, signal);
  }

  verify(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.#run('verify', (...given) => this.#inner.verify(...given), call, signal);
  }

  rollback(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#run('rollback', (...given) => this.#inner.rollback(...given), call, signal);
  }

  remove(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#run('remove', (...given) => this.#inner.remove(...given), call, signal);
  }

  async #run<T>(
    name: string,
    step: Step<T>,
    call: DriverCall,
    signal: AbortSignal,
  ): Promise<Result<T>> {
    const limit = new AbortController();
    const cancel = this.#clock.after(this.#limitMs, () => limit.abort());
    const where = `${this.#type} driver of target ${call.target}, step ${name}`;
    try {
      const result = await step(call, AbortSignal.any([signal, limit.signal]));
      return result.ok ? result : { ok: false, error: named(result.error, where) };
    } catch (thrown) {
      if (signal.aborted)
        return fail('DRIVER_FAILED', `${where}: interrupted, since the agent ends`);
      if (limit.signal.aborted)
        return fail('DRIVER_TIMEOUT', `${where}: not done within ${this.#limitMs / 1000} s`);
      return { ok: false, error: named(PkiError.from(thrown, 'DRIVER_FAILED'), where) };
    } finally {
      cancel();
    }
  }
}

const named = ({ code, message, next, cause, detail }: PkiError, where: string): PkiError =>
  new PkiError(code, `${where}: ${message}`, { next, cause, detail });

import { PkiError, fail, ok, type Result } from '../../../src/common/errors/index.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { StoredSet } from '../certificate-set.ts';
import type { Applied, Driver, DriverCall } from '../driver.ts';
import { argvKey } from './argv-key.ts';
import { endedHow, saidBy } from './program-end.ts';
import { runProgram } from './run-program.ts';

/** A key of the settings of drivers whose server staples. */
export const stapleKey = argvKey(
  'Gets the OCSP answer of a set that is taken over, for stapling. It has 10 s, and its failure fails nothing',
).optional();

export interface StapleOptions {
  readonly argv: readonly string[];
  /** Whether it runs before the server is told, or after the server has the set. */
  readonly runs: 'before' | 'after';
  readonly clock: Clock;
  /** How it ended, each time. */
  readonly stapled: (outcome: Result<void>) => void;
}

const limitMs = 10_000;

/**
 * A driver after which, or before which, a program gets the OCSP answer that the server staples: for
 * each new set, and for the set before on a way back. The outcome of a step is that of the driver
 * alone.
 */
export class StaplingDriver implements Driver {
  readonly #inner: Driver;
  readonly #options: StapleOptions;

  constructor(inner: Driver, options: StapleOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#inner.stage(call, signal);
  }

  apply(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.#around(call, call.set, signal, () => this.#inner.apply(call, signal));
  }

  verify(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.#inner.verify(call, signal);
  }

  rollback(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#around(call, call.previous, signal, () => this.#inner.rollback(call, signal));
  }

  remove(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#inner.remove(call, signal);
  }

  async #around<T>(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
    step: () => Promise<Result<T>>,
  ): Promise<Result<T>> {
    const staple = async (): Promise<void> => {
      if (served === undefined) return;
      const outcome = await this.#staple(call, served, signal);
      // what ended with the agent says nothing of the program
      if (!signal.aborted) this.#options.stapled(outcome);
    };
    const { runs } = this.#options;
    if (runs === 'before') await staple();
    const result = await step();
    if (runs === 'after' && result.ok) await staple();
    return result;
  }

  async #staple(
    { target, directory }: DriverCall,
    served: StoredSet,
    signal: AbortSignal,
  ): Promise<Result<void>> {
    const { argv, clock } = this.#options;
    const environment = {
      ...{ MESHCA_TARGET: target, MESHCA_DIRECTORY: directory, MESHCA_SET: served.name },
    };
    const limit = new AbortController();
    const cancel = clock.after(limitMs, () => limit.abort());
    try {
      const bound = AbortSignal.any([signal, limit.signal]);
      const end = await runProgram({ argv, input: '', environment }, clock, bound);
      return end.exitCode === 0
        ? ok(undefined)
        : unstapled(served, `${argv[0]} ${endedHow(end)}: ${saidBy(end)}`);
    } catch (thrown) {
      return limit.signal.aborted
        ? unstapled(served, `${argv[0]} was not done within ${limitMs / 1000} s`)
        : unstapled(served, PkiError.from(thrown).message);
    } finally {
      cancel();
    }
  }
}

const unstapled = ({ name }: StoredSet, why: string): Result<void> =>
  fail('STAPLE_FAILED', `the server may have no OCSP answer for the set ${name}: ${why}`);

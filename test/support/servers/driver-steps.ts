import assert from 'node:assert/strict';
import { openDriver } from '../../../sidecar/files/drivers/index.ts';
import type { StoredSet } from '../../../sidecar/files/certificate-set.ts';
import type { Applied, Driver } from '../../../sidecar/files/driver.ts';
import { unwrap, type Result } from '../../../src/common/errors/index.ts';
import { systemClock } from '../../../src/common/runtime/index.ts';
import { patienceMs } from '../until.ts';
import type { DriverSettings } from './server-process.ts';
import type { TargetDirectory } from './target-directory.ts';

export const neverAborted: AbortSignal = new AbortController().signal;

export const driverOf = (
  { type, settings }: DriverSettings,
  stapled: (outcome: Result<void>) => void = () => {},
): Driver =>
  unwrap(
    openDriver(
      { type, settings, timeoutSeconds: patienceMs / 1000 },
      { clock: systemClock, stapled },
    ),
  );

/** What a delivery does with a driver, without any proof by handshake. */
export class DriverSteps {
  readonly driver: Driver;
  readonly #target: TargetDirectory;
  served: StoredSet | undefined;
  /** How each run of the program `staple` ended: a code, or `done`. */
  readonly stapled: string[] = [];

  constructor(settings: DriverSettings, target: TargetDirectory, served?: StoredSet) {
    this.driver = driverOf(settings, (outcome) =>
      this.stapled.push(outcome.ok ? 'done' : outcome.error.code),
    );
    this.#target = target;
    this.served = served;
  }

  /** stage, swap, apply. */
  async deliver(set: StoredSet): Promise<Result<Applied>> {
    const call = this.#target.call(set, this.served);
    unwrap(await this.driver.stage(call, neverAborted));
    this.#target.swap(set);
    const applied = await this.driver.apply(call, neverAborted);
    if (applied.ok) this.served = set;
    return applied;
  }

  verify(): Promise<Result<Applied>> {
    const served = this.served as StoredSet;
    return this.driver.verify(this.#target.call(served), neverAborted);
  }

  /** Takes a set back that was swapped in. */
  async rollBack(set: StoredSet): Promise<Result<void>> {
    const previous = this.served as StoredSet;
    this.#target.swap(previous);
    return this.driver.rollback(this.#target.call(set, previous), neverAborted);
  }
}

export function codeOf(result: Result<unknown>): string {
  assert.ok(!result.ok, 'this was to fail');
  return result.error.code;
}

import { ok, type Result } from '../../../src/common/errors/index.ts';
import type { StoredSet } from '../certificate-set.ts';
import type { Applied, Driver, DriverCall } from '../driver.ts';

export const unknownTrust = (note: string): Result<Applied> => ok({ trust: 'unknown', note });

/** The same answer at `apply` and for the way back: the server reads what `current` names. */
export abstract class ReloadingDriver implements Driver {
  /**
   * Tells the server to read `current` again. `served` is the set that `current` names; undefined
   * where there is none.
   */
  protected abstract reload(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>>;

  async stage(_call: DriverCall, _signal: AbortSignal): Promise<Result<void>> {
    return ok(undefined);
  }

  apply(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.reload(call, call.set, signal);
  }

  async verify(_call: DriverCall, _signal: AbortSignal): Promise<Result<Applied>> {
    return unknownTrust('');
  }

  async rollback(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    const result = await this.reload(call, call.previous, signal);
    return result.ok ? ok(undefined) : result;
  }

  async remove(_call: DriverCall, _signal: AbortSignal): Promise<Result<void>> {
    return ok(undefined);
  }
}

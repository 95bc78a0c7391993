import { PkiError, fail, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { namedProcess } from '../pid-file.ts';
import { checkConfiguration } from '../program-check.ts';
import { saidBy } from '../program-end.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram } from '../run-program.ts';
import { childrenOf, workersReplaced } from '../workers.ts';

export interface ReloadSettings {
  readonly program: string;
  readonly executable?: string | undefined;
  readonly pidFile: string;
  readonly configFile: string;
}

/**
 * HAProxy in master-worker mode starts a new worker from the files. It is not known whether the
 * configuration takes its roots from them.
 */
export class HaproxyReloadDriver extends ReloadingDriver {
  readonly #settings: ReloadSettings;
  readonly #clock: Clock;

  constructor(settings: ReloadSettings, clock: Clock) {
    super();
    this.#settings = settings;
    this.#clock = clock;
  }

  protected async reload(
    _call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const { program, executable = program, pidFile, configFile } = this.#settings;
    using master = namedProcess({ path: pidFile, executable }, this.#clock);
    if (master === undefined) return unknownTrust('HAProxy does not run');
    checkConfiguration(configFile);
    const argv = [program, '-c', '-q', '-f', configFile];
    const check = await runProgram({ argv, input: '', environment: {} }, this.#clock, signal);
    if (check.exitCode !== 0)
      return fail('DRIVER_REFUSED', `haproxy -c refused the files: ${saidBy(check)}`);
    const before = childrenOf(master.pid);
    if (!master.held.signal('SIGUSR2'))
      throw new PkiError('DRIVER_FAILED', `the agent may not send SIGUSR2 to ${master.pid}`, {
        next: 'Run the agent as root, or give it the right CAP_KILL.',
      });
    if (before === undefined)
      return unknownTrust('SIGUSR2 was sent; this kernel does not tell the workers of HAProxy');
    // the worker before keeps its connections, and listens no more once the new one does
    const { pid } = master;
    await workersReplaced({ pid, before, isLeaving: () => true }, this.#clock, signal);
    return unknownTrust('HAProxy has a new worker');
  }
}

import { fail, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { namedProcess } from '../pid-file.ts';
import { checkConfiguration } from '../program-check.ts';
import { saidBy } from '../program-end.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram } from '../run-program.ts';
import { reloadWorkers } from '../workers.ts';

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
    // the worker before keeps its connections, and listens no more once the new one does
    const reload = { signalName: 'SIGUSR2', isLeaving: () => true } as const;
    const came = await reloadWorkers(master, reload, this.#clock, signal);
    if (came === 'ended') return unknownTrust('HAProxy has ended');
    if (came === 'untold')
      return unknownTrust('SIGUSR2 was sent; this kernel does not tell the workers of HAProxy');
    return unknownTrust('HAProxy has a new worker');
  }
}

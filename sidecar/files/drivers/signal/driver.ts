import { z } from 'zod';
import type { Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { Applied } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { namedProcess, sendSignal, type PidFile } from '../pid-file.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import type { SignalName } from '../system-calls.ts';

export const pidFileKey = z
  .string()
  .startsWith('/')
  .describe('Absolute path of the file with the process number of the server');
export const executableKey = z
  .string()
  .startsWith('/')
  .describe('Absolute path of the program that this process must run; another gets no signal');

const settings = z.strictObject({
  pidFile: pidFileKey,
  executable: executableKey,
  signal: z.enum(['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH']).default('SIGHUP'),
});

/** A signal has no answer: what the server made of it, a handshake shows. */
export const signal = driverType({
  type: 'signal',
  settings,
  open: ({ pidFile, executable, signal: name }, { clock }) =>
    new SignalDriver({ path: pidFile, executable }, name, clock),
});

class SignalDriver extends ReloadingDriver {
  readonly #file: PidFile;
  readonly #signal: SignalName;
  readonly #clock: Clock;

  constructor(file: PidFile, signalName: SignalName, clock: Clock) {
    super();
    this.#file = file;
    this.#signal = signalName;
    this.#clock = clock;
  }

  protected async reload(): Promise<Result<Applied>> {
    return unknownTrust(signalNamed(this.#file, this.#signal, this.#clock));
  }
}

/** Sends a signal to the process of a pid file, and says what came of it. Throws DRIVER_FAILED. */
export function signalNamed(file: PidFile, name: SignalName, clock: Clock): string {
  using named = namedProcess(file, clock);
  if (named === undefined) return `${file.path} names no process: the server does not run`;
  return sendSignal(named, name)
    ? `${name} was sent to process ${named.pid}`
    : `process ${named.pid} has ended: the server does not run`;
}

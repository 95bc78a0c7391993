import { z } from 'zod';
import { fail, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { argvKey } from '../argv-key.ts';
import { driverType } from '../driver-type.ts';
import { endedHow, saidBy } from '../program-end.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram, type ProgramEnd } from '../run-program.ts';

const settings = z.strictObject({
  check: argvKey('Run before the reload; any end but 0 refuses the set').optional(),
  reload: argvKey('Tells the server to read the files again'),
});

type CommandSettings = z.infer<typeof settings>;

/** A command that ends with 0 says nothing of what the server took: handshakes show it. */
export const command = driverType({
  type: 'command',
  settings,
  open: (given, { clock }) => new CommandDriver(given, clock),
});

class CommandDriver extends ReloadingDriver {
  readonly #settings: CommandSettings;
  readonly #clock: Clock;

  constructor(given: CommandSettings, clock: Clock) {
    super();
    this.#settings = given;
    this.#clock = clock;
  }

  protected async reload(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const run = (words: readonly string[]): Promise<ProgramEnd> =>
      runProgram(
        {
          argv: words,
          input: '',
          environment: {
            MESHCA_TARGET: call.target,
            MESHCA_DIRECTORY: call.directory,
            MESHCA_SET: served?.name ?? '',
          },
        },
        this.#clock,
        signal,
      );
    const { check, reload } = this.#settings;
    if (check !== undefined) {
      const end = await run(check);
      if (end.exitCode !== 0)
        return fail('DRIVER_REFUSED', `${check[0]} ${endedHow(end)}: ${saidBy(end)}`);
    }
    const end = await run(reload);
    return end.exitCode === 0
      ? unknownTrust(`${reload[0]} ended with 0`)
      : fail('DRIVER_FAILED', `${reload[0]} ${endedHow(end)}: ${saidBy(end)}`);
  }
}

import { z } from 'zod';
import { fail, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { endedHow, saidBy } from '../program-end.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram } from '../run-program.ts';

const settings = z.strictObject({
  unit: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.:@\\-]{0,250}\.(service|target)$/, 'write it as NAME.service')
    .describe('The unit, with its suffix'),
  systemctl: z.string().startsWith('/').default('/usr/bin/systemctl'),
});

/** The unit itself says by ExecReload what a reload is. Its end with 0 says nothing of the set. */
export const systemd = driverType({
  type: 'systemd',
  settings,
  open: ({ unit, systemctl }, { clock }) => new SystemdDriver(unit, systemctl, clock),
});

/** Of `systemctl is-active`: the unit does not run. */
const inactive = 3;

class SystemdDriver extends ReloadingDriver {
  readonly #unit: string;
  readonly #systemctl: string;
  readonly #clock: Clock;

  constructor(unit: string, systemctl: string, clock: Clock) {
    super();
    this.#unit = unit;
    this.#systemctl = systemctl;
    this.#clock = clock;
  }

  protected async reload(
    _call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const run = (...words: readonly string[]) =>
      runProgram(
        { argv: [this.#systemctl, ...words, '--', this.#unit], input: '', environment: {} },
        this.#clock,
        signal,
      );
    if ((await run('is-active', '--quiet')).exitCode === inactive)
      return unknownTrust(`${this.#unit} does not run`);
    const end = await run('reload');
    return end.exitCode === 0
      ? unknownTrust(`${this.#unit} was reloaded`)
      : fail('DRIVER_FAILED', `systemctl reload ${this.#unit} ${endedHow(end)}: ${saidBy(end)}`);
  }
}

import { utimes } from 'node:fs/promises';
import { z } from 'zod';
import { PkiError, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { Applied } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { executableKey, pidFileKey, signalNamed } from '../signal/driver.ts';

const settings = z.union([
  z.strictObject({
    dynamicFile: z
      .string()
      .startsWith('/')
      .describe(
        'The watched file of dynamic configuration that names the certificates; its times are set',
      ),
  }),
  z.strictObject({ pidFile: pidFileKey, executable: executableKey }),
]);

type TraefikSettings = z.infer<typeof settings>;

/**
 * Traefik reads certificates only together with its dynamic configuration. It reports nothing of a
 * pair that does not match but one line of log, and then serves a certificate of its own or none.
 * So nothing can be said of its trust, and only handshakes prove its certificate.
 */
export const traefik = driverType({
  type: 'traefik',
  proofSeconds: 4,
  settings,
  open: (given, { clock }) => new TraefikDriver(given, clock),
});

class TraefikDriver extends ReloadingDriver {
  readonly #settings: TraefikSettings;
  readonly #clock: Clock;

  constructor(given: TraefikSettings, clock: Clock) {
    super();
    this.#settings = given;
    this.#clock = clock;
  }

  protected async reload(): Promise<Result<Applied>> {
    const given = this.#settings;
    if (!('dynamicFile' in given)) {
      const { pidFile: path, executable } = given;
      return unknownTrust(signalNamed({ path, executable }, 'SIGHUP', this.#clock));
    }
    const now = new Date(this.#clock.nowMs());
    try {
      await utimes(given.dynamicFile, now, now);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      throw new PkiError('DRIVER_FAILED', `the times of ${given.dynamicFile} stay (${code})`, {
        cause: thrown,
        next: 'Name the file that Traefik watches (providers.file.filename), and let the agent write it.',
      });
    }
    return unknownTrust(`${given.dynamicFile} was touched`);
  }
}

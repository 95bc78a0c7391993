import { join } from 'node:path';
import { z } from 'zod';
import { fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { isAway, localAddress } from '../local-address.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { plainSerial, sameSerials, serialsOf } from '../serials.ts';
import { contexts, refusals } from './admin.ts';

const settings = z.strictObject({
  admin: localAddress('The admin endpoint'),
  secret: z
    .string()
    .regex(/^[A-Za-z0-9_.:/-]{1,200}$/)
    .describe(
      'Name of the secret (SDS) with the certificate, whose watched_directory is the target',
    ),
});

type EnvoySettings = z.infer<typeof settings>;

const lookMs = 50;

/**
 * Envoy watches the directory and reads the files of its secrets by itself at the rename. Its page
 * /certs then shows by serial which leaves and roots each TLS context uses, so that `loaded` is what
 * Envoy shows: every context with the leaf has exactly the roots of the set. Files that do not fit
 * count in `key_rotation_failed`, and the old ones stay.
 */
export const envoy = driverType({
  type: 'envoy',
  proofSeconds: 4,
  settings,
  open: (given, { clock }) => new EnvoyDriver(given, clock),
});

class EnvoyDriver extends ReloadingDriver {
  readonly #settings: EnvoySettings;
  readonly #clock: Clock;
  /** Refusals that Envoy had counted when a set was staged. Forgotten when the agent ends. */
  #staged: { readonly set: string; readonly refusals: number } | undefined;

  constructor(given: EnvoySettings, clock: Clock) {
    super();
    this.#settings = given;
    this.#clock = clock;
  }

  override async stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    const { admin, secret } = this.#settings;
    try {
      this.#staged = { set: call.set.name, refusals: await refusals(admin, secret, signal) };
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
    }
    return ok(undefined);
  }

  protected async reload(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    if (served === undefined) return unknownTrust('there is no set to go back to');
    const { admin, secret } = this.#settings;
    try {
      const before = this.#staged?.set === served.name ? this.#staged.refusals : undefined;
      for (;;) {
        const shown = await this.#shown(call, served, signal);
        if (shown !== undefined) return ok(shown);
        if (before !== undefined && (await refusals(admin, secret, signal)) > before)
          return fail(
            'DRIVER_REFUSED',
            `Envoy refused the files of secret ${secret} and keeps the old ones (key_rotation_failed)`,
          );
        await this.#clock.sleep(lookMs, { signal });
      }
    } catch (thrown) {
      if (isAway(thrown)) return unknownTrust('Envoy does not run');
      throw thrown;
    }
  }

  override async verify(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.reload(call, call.set, signal);
  }

  /** Undefined: no context has the leaf yet. */
  async #shown(
    { files }: DriverCall,
    served: StoredSet,
    signal: AbortSignal,
  ): Promise<Applied | undefined> {
    const serial = plainSerial(served.serial);
    const using = (await contexts(this.#settings.admin, signal)).filter(({ leaves }) =>
      leaves.includes(serial),
    );
    if (using.length === 0) return undefined;
    const note = 'Envoy uses the certificate';
    const { ca } = files;
    if (ca === undefined) return { trust: 'unknown', note };
    const wanted = await serialsOf(join(served.directory, ca));
    const loaded = using.every(({ roots }) => sameSerials(roots, wanted));
    return loaded ? { trust: 'loaded', note: `${note} and the roots` } : { trust: 'unknown', note };
  }
}

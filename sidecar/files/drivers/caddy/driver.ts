import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { PkiError, fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { callHttp, type HttpAnswer } from '../http-call.ts';
import { isAway, localAddress } from '../local-address.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { said } from '../said.ts';

const settings = z.strictObject({
  admin: localAddress('The admin API').default('localhost:2019'),
  configFile: z
    .string()
    .startsWith('/')
    .optional()
    .describe(
      'Caddyfile, or JSON (*.json), that is loaded. Absent: the configuration that Caddy runs with',
    ),
});

type CaddySettings = z.infer<typeof settings>;

/** Caddy loads a configuration that it has already only when it is told so; else it answers 200. */
const forced = { 'cache-control': 'must-revalidate' };

/**
 * One load provisions a whole new configuration with key and roots; only if all of it is good Caddy
 * answers 200 and takes it, else the old one stays. So 200 says that the roots are loaded as well,
 * provided that the running configuration names `ca` of `current`.
 */
export const caddy = driverType({
  type: 'caddy',
  proofSeconds: 4,
  settings,
  open: (given) => new CaddyDriver(given),
});

class CaddyDriver extends ReloadingDriver {
  readonly #settings: CaddySettings;

  constructor(given: CaddySettings) {
    super();
    this.#settings = given;
  }

  protected async reload(
    call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const { admin, configFile } = this.#settings;
    try {
      const running = await this.#config(signal);
      const file = configFile === undefined ? undefined : await readFile(configFile, 'utf8');
      const type = file === undefined || configFile?.endsWith('.json') ? 'json' : 'caddyfile';
      const answer = await callHttp(
        {
          ...{ address: admin, method: 'POST', path: '/load', body: file ?? running },
          headers: {
            ...forced,
            'content-type': type === 'json' ? 'application/json' : 'text/caddyfile',
          },
        },
        signal,
      );
      if (answer.status !== 200) return refusal(answer);
      const loaded = namesRoots(await this.#config(signal), call);
      return ok({ trust: loaded ? 'loaded' : 'unknown', note: 'Caddy loaded its configuration' });
    } catch (thrown) {
      if (isAway(thrown)) return unknownTrust('Caddy does not run');
      throw thrown;
    }
  }

  /** The JSON of the configuration that runs. */
  async #config(signal: AbortSignal): Promise<string> {
    const { status, body } = await callHttp(
      { address: this.#settings.admin, method: 'GET', path: '/config/' },
      signal,
    );
    if (status === 200) return body;
    throw new PkiError('DRIVER_FAILED', `Caddy's admin API answered ${status}: ${said(body)}`, {
      next: 'Name the address of the admin API (admin in the global options of the Caddyfile).',
    });
  }
}

const refusal = ({ status, body }: HttpAnswer): Result<Applied> =>
  fail(
    status === 400 ? 'DRIVER_REFUSED' : 'DRIVER_FAILED',
    `Caddy answered ${status} to the load: ${said(body)}`,
  );

/**
 * Whether the trust of clients comes from `ca` of `current`. Takes time in proportion to the size: who
 * listens in the place of Caddy can answer anything.
 */
export function namesRoots(
  config: string,
  { directory, files }: Pick<DriverCall, 'directory' | 'files'>,
): boolean {
  const { ca } = files;
  if (ca === undefined) return false;
  const path = JSON.stringify(join(directory, 'current', ca));
  const list = '"pem_files":[';
  let [named, end] = [-1, -1];
  for (let at = config.indexOf(list); at >= 0; at = config.indexOf(list, at + list.length)) {
    if (named < at) named = config.indexOf(path, at);
    if (named < 0) return false;
    if (end < at) end = config.indexOf(']', at);
    if (end < 0 || named < end) return true;
  }
  return false;
}

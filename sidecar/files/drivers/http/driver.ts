import { z } from 'zod';
import { fail, type Result } from '../../../../src/common/errors/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { callHttp } from '../http-call.ts';
import { isAway, localAddress } from '../local-address.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { said } from '../said.ts';

const status = z.number().int().min(100).max(599);

const settings = z.strictObject({
  address: localAddress('Where the server is told to read its files again'),
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH']).default('POST'),
  path: z
    .string()
    .regex(/^\/[\x21-\x7e]*$/, 'begin with / and use printable ASCII')
    .describe('With the query, if any'),
  expectedStatus: z
    .array(status)
    .min(1)
    .default([200, 202, 204])
    .describe('The reload was done or begun'),
  refusedStatus: z
    .array(status)
    .default([])
    .describe('The server refused the files and goes on with the old ones'),
});

type HttpSettings = z.infer<typeof settings>;

/** A status says that the request was taken. What the server serves, handshakes show. */
export const http = driverType({
  type: 'http',
  settings,
  open: (given) => new HttpDriver(given),
});

class HttpDriver extends ReloadingDriver {
  readonly #settings: HttpSettings;

  constructor(given: HttpSettings) {
    super();
    this.#settings = given;
  }

  protected async reload(
    _call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const { address, method, path, expectedStatus, refusedStatus } = this.#settings;
    try {
      const answer = await callHttp({ address, method, path }, signal);
      if (expectedStatus.includes(answer.status))
        return unknownTrust(`${method} ${path} was answered ${answer.status}`);
      const refused = refusedStatus.includes(answer.status);
      return fail(
        refused ? 'DRIVER_REFUSED' : 'DRIVER_FAILED',
        `${method} ${path} at ${address} was answered ${answer.status}: ${said(answer.body)}`,
      );
    } catch (thrown) {
      if (isAway(thrown)) return unknownTrust(`nobody listens at ${address}`);
      throw thrown;
    }
  }
}

import { z } from 'zod';
import type { Result } from '../../../../src/common/errors/index.ts';
import type { Applied } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';

/** For servers that watch their files themselves. */
export const none = driverType({
  type: 'none',
  settings: z.strictObject({}),
  open: () => new NoDriver(),
});

class NoDriver extends ReloadingDriver {
  protected async reload(): Promise<Result<Applied>> {
    return unknownTrust('the server is told nothing');
  }
}

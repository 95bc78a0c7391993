import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { openStore } from '../../support/open-store.ts';
import { ManualClock, type OpenedStore } from './fixtures.ts';
import { storeSuite } from './suite.ts';

storeSuite('sqlite', async (options = {}) => {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-store-'));
  const clock = new ManualClock();
  const opened = async (): Promise<OpenedStore> => {
    const store = await openStore({
      path: join(folder, 'meshca.db'),
      clock,
      logger: silentLogger,
      pid: process.pid,
      ...options,
    });
    return {
      store,
      clock,
      reopen: async () => {
        await store.close();
        return opened();
      },
      [Symbol.asyncDispose]: async () => {
        await store.close();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  };
  return opened();
});

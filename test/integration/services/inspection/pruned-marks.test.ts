import assert from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { Pruner } from '../../../../src/services/index.ts';
import { digest, event } from '../../../compliance/store/fixtures.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { openStore } from '../../../support/open-store.ts';

test('marks of tokens are forgotten past any number of rows that somebody else wrote', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'meshca-marks-'));
  const path = join(folder.path, 'meshca.db');
  const clock: Clock = { ...systemClock, sleep: async () => {} };
  const store = await openStore({ path, pid: process.pid, clock, logger: silentLogger });
  try {
    const mark = (expiresAt: number) => ({
      id: digest(),
      ...{ issuer: 'ci', subject: 'job', grantee: 'deploy', publicKeySha256: digest() },
      ...{ usedAt: clock.now() - 900, expiresAt },
    });
    const [ended, living] = [mark(clock.now() - 100), mark(clock.now() + 100)];
    for (const each of [ended, living])
      await store.tokenUses.bind(each, event('identity-token.bound'));
    foreignSql(path, (database) => {
      database.exec(`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)
        INSERT INTO token_uses SELECT randomblob(32), 'ci', 'x', 'x', x'00', 1, i / 200, NULL, NULL FROM n`);
    });
    const pruner = new Pruner({
      ...{ store, clock, keepSeconds: 0, holder: 'test', logger: silentLogger },
      clockBelieved: () => true,
    });
    assert.equal((await pruner.round()).tokenUses, 1);
    assert.equal(await store.tokenUses.byId(ended.id), undefined);
    assert.equal((await store.tokenUses.byId(living.id))?.expiresAt, living.expiresAt);
  } finally {
    await store.close();
  }
});

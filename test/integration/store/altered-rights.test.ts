import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { intent, ManualClock, signed } from '../../compliance/store/fixtures.ts';
import { rightsWorld } from '../../compliance/store/suite-rights.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { openStore } from '../../support/open-store.ts';

/** The altered row, the change, and the code with which the certificate is withheld. */
const alterations: readonly (readonly [kind: string, sql: string, code: string])[] = [
  ['authority', `UPDATE authorities SET state = 'tainted'`, 'OBJECT_NOT_IN_LOG'],
  ['authority', `UPDATE authorities SET scope = 'no JSON'`, 'OBJECT_NOT_IN_LOG'],
  ['entry', 'UPDATE entries SET expires_at = 1', 'OBJECT_NOT_IN_LOG'],
  ['entry', 'UPDATE entries SET revision = revision + 1', 'OBJECT_NOT_IN_LOG'],
  ['entry', 'DELETE FROM entries', 'OBJECT_NOT_IN_LOG'],
  ['agent', `UPDATE agents SET state = 'banned'`, 'OBJECT_NOT_IN_LOG'],
  ['agent', 'UPDATE agents SET generation = generation + 1', 'OBJECT_NOT_IN_LOG'],
  ['agent-line', 'UPDATE agent_lines SET svids = json_array()', 'OBJECT_NOT_IN_LOG'],
  ['agent-line', 'DELETE FROM agent_lines', 'OBJECT_NOT_IN_LOG'],
  ['delegation', 'UPDATE delegations SET revoked_at = 1', 'OBJECT_NOT_IN_LOG'],
  ['delegation', 'DELETE FROM delegations', 'OBJECT_NOT_IN_LOG'],
  [
    'certificate',
    `UPDATE certificates SET state = 'withheld' WHERE state = 'issued'`,
    'CERTIFICATE_UNKNOWN',
  ],
];

test('a row that was altered while a leaf was signed withholds it, and is announced', async (t) => {
  for (const [kind, change, code] of alterations)
    await t.test(change, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-altered-'));
      const path = join(folder, 'meshca.db');
      const clock = new ManualClock();
      const store = await openStore({ path, clock, logger: silentLogger, pid: process.pid });
      const announced = new Set<string>();
      store.objects.onMismatch((mismatch) => announced.add(mismatch.kind));
      try {
        const { authorityId, rights } = await rightsWorld(store, clock);
        const [one, other] = [intent({ authorityId }), intent({ authorityId })];
        await store.issuance.recordIntents([one, other]);
        foreignSql(path, (database) => database.exec(change));
        const [outcome, neighbour] = await store.issuance.finish([
          signed(one, Object.values(rights)),
          signed(other, kind === 'authority' ? [] : [rights.authority]),
        ]);
        assert.equal(outcome?.state === 'withheld' && outcome.code, code);
        assert.deepEqual([...announced], [kind]);
        assert.equal(neighbour?.state, 'issued', 'what does not rest on the row goes on');
      } finally {
        await store.close();
        await rm(folder, { recursive: true, force: true });
      }
    });
});

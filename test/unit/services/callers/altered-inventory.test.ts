import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { createServicesWorld } from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';

const unknown = 'CERTIFICATE_UNKNOWN';
const notInLog = 'OBJECT_NOT_IN_LOG';
/** What is done to the caller's row; how he is refused when he connects, and at his next call. */
const alterations: readonly (readonly [sql: string, connecting: string, calling: string])[] = [
  [`UPDATE certificates SET state = 'withheld'`, unknown, unknown],
  [`UPDATE certificates SET sha256 = x'00'`, unknown, notInLog],
  [`DELETE FROM certificates`, unknown, unknown],
  [`UPDATE certificates SET kind = 'admin'`, notInLog, notInLog],
  [`UPDATE certificates SET not_after = not_after + 1`, notInLog, notInLog],
  // the row alone would refuse these callers, and nobody would hear of the alteration
  [`UPDATE certificates SET not_after = 1`, notInLog, notInLog],
  [`UPDATE certificates SET not_before = not_after`, notInLog, notInLog],
  [`UPDATE certificates SET authority_id = 'another'`, notInLog, notInLog],
];

test('a caller whose inventory row was altered or taken away is refused and announced', async (t) => {
  for (const [sql, connecting, calling] of alterations)
    await t.test(sql, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-altered-'));
      const path = join(folder, 'meshca.db');
      try {
        await using w = await createServicesWorld({}, { path, keys: new Map() });
        const announced: string[] = [];
        w.store.objects.onMismatch(({ kind, id }) => announced.push(`${kind} ${id}`));
        const { caller, svid } = await w.joinAgent('n1');
        const codeOf = (call: Promise<unknown>): Promise<string> =>
          call.then(
            () => 'admitted',
            (thrown: unknown) => PkiError.from(thrown).code,
          );
        foreignSql(path, (database) => database.exec(sql));
        // reads of one turn share a snapshot
        await nextTurn();
        assert.equal(await codeOf(w.callerOf(svid.leaf)), connecting);
        await w.addEntry({ spiffeId: 'spiffe://mesh.test/web', parentId: caller.spiffeId });
        assert.equal(await codeOf(w.services.callers.stillStands(caller)), calling);
        const row = `certificate ${caller.serial}`;
        assert.deepEqual(announced, [row, row]);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
});

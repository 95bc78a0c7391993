import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import { intent, signed } from '../../../compliance/store/fixtures.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';

/** A revocable leaf in a database that others can write to. */
async function leafOf(w: ServicesWorld): Promise<string> {
  const { caller } = await w.joinAgent('n1');
  const entryId = await w.addEntry({
    spiffeId: id('/web'),
    parentId: caller.spiffeId,
    profile: 'revocable',
  });
  const csrDer = createCsr(newKey());
  const about = { ttlSeconds: 0, selectors: [], replacesSerial: '' };
  const [outcome] = await w.services.svids.signX509(caller, [
    { requestId: uuidv7(), entryId, csrDer, ...about },
  ]);
  assert.ok(outcome?.ok);
  return outcome.leaf.serial;
}

const alterations: readonly string[] = [
  `state = 'withheld', shard = 1`,
  `state = 'abandoned', shard = 1`,
  `state = 'intent', shard = 1`,
  `state = 'refused'`,
  `kind = 'authority', shard = 1`,
  `kind = 'authority', authority_id = 'another'`,
  `kind = 'authority', profile = 'downstream', not_after = not_after + 1`,
];

test('an altered row of another state or kind decides nothing on a revocation', async (t) => {
  for (const alteration of alterations)
    await t.test(alteration, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-altered-'));
      const path = join(folder, 'meshca.db');
      try {
        await using w = await createServicesWorld({ revocable: true }, { path, keys: new Map() });
        const serial = await leafOf(w);
        w.clock.advance(1_000_000);
        foreignSql(path, (database) =>
          database.exec(`UPDATE certificates SET ${alteration} WHERE spiffe_id = '${id('/web')}'`),
        );
        // reads of one turn share a snapshot
        await nextTurn();
        const announced: string[] = [];
        w.store.objects.onMismatch(({ kind, id }) => announced.push(`${kind} ${id}`));
        await assert.rejects(
          w.services.revocations.revoke(local, { serial, reason: 'superseded' }),
          (thrown) => PkiError.from(thrown).code === 'OBJECT_NOT_IN_LOG',
        );
        const done = await w.services.selections.revoke(local, {
          selection: { spiffeId: id('/web') },
          reason: 'superseded',
          actId: '',
        });
        assert.equal(done.revoked, 0);
        assert.ok(!w.store.revocations.revoked(serial));
        assert.deepEqual([...new Set(announced)], [`certificate ${serial}`]);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
});

test('a leaf that was recorded and not released is revoked as the log has it', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const ask = intent({
    authorityId: w.issuing.id,
    spiffeId: id('/web'),
    createdAtMs: w.clock.nowMs(),
    notAfter: w.clock.now() + 3_600,
  });
  await w.store.issuance.recordIntents([ask]);
  const [outcome] = await w.store.issuance.finish([
    signed(ask, [{ kind: 'delegation', id: 'none' }]),
  ]);
  assert.equal(outcome?.state, 'withheld');
  const { revocation } = await w.services.revocations.revoke(local, {
    serial: ask.serial,
    reason: 'superseded',
  });
  assert.equal(revocation.authorityId, w.issuing.id);
});

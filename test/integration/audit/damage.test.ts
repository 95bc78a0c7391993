import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import {
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { until } from '../../support/until.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;

/** Whoever can write to the file of a server that is stopped. */
const sql = <T>(server: TestServer, work: (database: DatabaseSync) => T): T =>
  foreignSql(join(server.dir, 'data', 'meshca.db'), work);

/** `issued`, or the code of the refusal. */
async function signs(server: TestServer, agent: Credential): Promise<string> {
  const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
  const item = {
    requestId: uuidv7(),
    entryId: 'web',
    csrDer,
    selectors: [{ type: 'unix', value: 'uid:1000' }],
  };
  return unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
    items: [item],
  }).then(
    ({ results }) => (results[0]!.svid ? 'issued' : results[0]!.refusal!.code),
    (thrown: unknown) => PkiError.from(thrown).code,
  );
}

test('a server that finds a changed record under its snapshot signs nothing and does not start again', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
    ],
  });
  // as many records as a clean stop makes a snapshot for
  for (const half of [0, 1]) {
    await server.admin('Entries/CreateEntries', {
      entries: Array.from({ length: 500 }, (_, at) => ({
        id: `filler-${half}-${at}`,
        spiffeId: id(`/filler/${half}/${at}`),
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1001'],
      })),
    });
  }
  await server.restart();
  const snapshots = (): number =>
    sql(
      server,
      (database) =>
        (database.prepare('SELECT count(*) AS n FROM log_snapshots').get() as { n: number }).n,
    );
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  };
  assert.ok(
    (await metric('meshca_audit_review_records')) > 1_000,
    'this start has passed over what is under the snapshot',
  );
  assert.equal(await signs(server, agent), 'issued');
  await until(
    async () =>
      (await metric('meshca_audit_review_checked_records')) ===
      (await metric('meshca_audit_review_records')),
    'the background to come by',
  );
  assert.equal(await metric('meshca_audit_damaged'), 0);
  assert.ok((await metric('meshca_audit_snapshot_timestamp_seconds')) > 1_700_000_000);

  await server.stop();
  assert.ok(snapshots() > 0);
  const sequence = sql(server, (database) => {
    const row = database
      .prepare(
        `SELECT sequence, canonical FROM audit WHERE kind = 'entry.created' ORDER BY sequence LIMIT 1 OFFSET 900`,
      )
      .get() as { sequence: number; canonical: Uint8Array };
    database
      .prepare('UPDATE audit SET canonical = ? WHERE sequence = ?')
      .run(
        Buffer.from(Buffer.from(row.canonical).toString().replace('filler', 'foller')),
        row.sequence,
      );
    return row.sequence;
  });
  await server.restart();
  await until(
    async () => (await metric('meshca_audit_damaged')) === 1,
    'the changed record to be found',
  );
  assert.equal(await signs(server, agent), 'AUDIT_INVALID');
  const status = await server.admin('Server/GetStatus');
  assert.equal(status.ready, false);
  assert.ok(
    (status.reasons as string[]).some(
      (reason) => reason.includes('AUDIT_INVALID') && reason.includes(String(sequence)),
    ),
    JSON.stringify(status.reasons),
  );
  const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
  await assert.rejects(
    server.admin('Certificates/MintX509Svid', {
      spiffeId: id('/minted'),
      csrDer,
      requestId: uuidv7(),
      admin: false,
      ttlSeconds: 0,
    }),
    { code: 'AUDIT_INVALID' },
  );
  await until(
    async () => (await metric('meshca_audit_snapshot_records')) === 0,
    'the snapshots to go',
  );
  const refused = await server.restart().then(
    () => assert.fail('the server started'),
    (thrown: unknown) => PkiError.from(thrown),
  );
  assert.deepEqual([refused.code, refused.detail], ['AUDIT_INVALID', { sequence }]);
  assert.equal(snapshots(), 0);
});

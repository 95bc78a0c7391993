import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { codeOf, startTestServer } from '../../support/server.ts';

/** What is done to the authorities while the server is stopped, and undone after its start failed. */
const alterations: readonly (readonly [sql: string, undo: string, code: string])[] = [
  ...['issuing', 'root', 'jwt', 'log'].flatMap((kind) =>
    ['preparing', 'published', 'old', 'revoked'].map((state): readonly [string, string, string] => [
      `UPDATE authorities SET state = '${state}' WHERE kind = '${kind}'`,
      `UPDATE authorities SET state = 'active' WHERE kind = '${kind}'`,
      // without any key of the log nothing can be compared, and the start ends before
      kind === 'log' && state === 'revoked' ? 'HSM_KEY_NOT_FOUND' : 'OBJECT_NOT_IN_LOG',
    ]),
  ),
  [
    `CREATE TABLE aside AS SELECT * FROM authorities WHERE kind = 'jwt'; DELETE FROM authorities WHERE kind = 'jwt'`,
    `INSERT INTO authorities SELECT * FROM aside; DROP TABLE aside`,
    'OBJECT_NOT_IN_LOG',
  ],
];

test('a start on altered authorities fails and is announced, and makes no other ones', async (t) => {
  const alerts: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: (fields) => {
      const { alert, kind } = fields as Record<string, unknown>;
      if (alert === true) alerts.push(String(kind));
    },
    child: () => logger,
  };
  await using server = await startTestServer({ logger });
  const { authorities } = await server.admin('Authorities/ListAuthorities');
  await server.stop();
  const path = join(server.config.dataDir, 'meshca.db');
  for (const [sql, undo, code] of alterations)
    await t.test(sql, async () => {
      alerts.length = 0;
      foreignSql(path, (database) => database.exec(sql));
      const started = await codeOf(server.restart());
      foreignSql(path, (database) => database.exec(undo));
      assert.equal(started, code);
      assert.ok(alerts.includes('authority'), alerts.join());
    });
  await server.restart();
  assert.equal(
    (await server.admin('Authorities/ListAuthorities')).authorities.length,
    authorities.length,
  );
});

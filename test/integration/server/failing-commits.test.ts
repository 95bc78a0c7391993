import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { PkiError } from '../../../src/common/errors/index.ts';
import { runCommand } from '../../support/command.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test("a server that can't commit becomes unready but stays alive, and is ready after the first commit", async () => {
  await using server = await startTestServer();
  const ready = async (): Promise<{ ready: boolean; reasons: readonly string[] }> =>
    (await fetch(`http://127.0.0.1:${server.server.opsPort}/ready`)).json() as never;
  const health = async (...options: readonly string[]): Promise<number> =>
    (await runCommand(server, ['healthcheck', 'server', ...options])).code;
  await until(async () => (await ready()).ready, 'the server');
  assert.deepEqual([await health(), await health('--ready')], [0, 0]);

  const foreign = new DatabaseSync(join(server.dir, 'data', 'meshca.db'));
  foreign.exec('BEGIN IMMEDIATE');
  const began = Date.now();
  const refused = await server.admin('Tokens/CreateJoinToken', { agentName: 'node-1' }).then(
    () => assert.fail('written'),
    (error: PkiError) => error,
  );
  assert.equal(refused.code, 'STORE_FAILED');
  assert.match(refused.message, /another program holds a lock on it/);
  assert.match(refused.next, /End the program that has the database open/);
  assert.deepEqual((await ready()).reasons, []);
  await until(async () => !(await ready()).ready, 'that the server is unready');
  assert.ok(Date.now() - began >= 10_000);
  assert.match(
    (await ready()).reasons.join(),
    /STORE_FAILED: for 1\d s nothing could be committed/,
  );
  await until(async () => (await health('--ready')) === 5, 'the health check');
  assert.equal(await health(), 0);

  foreign.exec('ROLLBACK');
  foreign.close();
  await until(async () => (await ready()).ready, 'that the server is ready again');
  await until(async () => (await health('--ready')) === 0, 'the health check');
});

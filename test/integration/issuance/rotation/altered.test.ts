import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { codeOf, startTestServer, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

const sql = (server: TestServer, statement: string, ...values: readonly string[]): void =>
  foreignSql(join(server.config.dataDir, 'meshca.db'), (database) => {
    database.prepare(statement).run(...values);
  });

const codes = async (server: TestServer): Promise<readonly string[]> =>
  (await server.admin('Authorities/GetRotationStatus')).notes.map(({ code }) => code);

const authorities = async (server: TestServer): Promise<readonly string[]> =>
  (await server.admin('Authorities/ListAuthorities')).authorities
    .map(({ kind, state }) => `${kind} ${state}`)
    .sort();

/** A server by whose schedule a rotation of each kind waits for an agent that is not there. */
async function waiting(): Promise<TestServer> {
  const server = await startTestServer({
    config: { rotation: { automatic: false }, issuance: { bundleRefreshHintSeconds: 1 } },
  });
  await server.joinAgent('silent');
  Object.assign(server.config.rotation, { automatic: true, prepareAtPercent: 1e-6 });
  await server.restart();
  await until(
    async () =>
      (await authorities(server)).filter((each) => each.endsWith('published')).length === 3,
    'the successors are published',
  );
  return server;
}

/** Rotation has looked at least once more. */
async function looked(server: TestServer): Promise<void> {
  const { at } = await server.admin('Authorities/GetRotationStatus');
  await until(
    async () => Number((await server.admin('Authorities/GetRotationStatus')).at) > Number(at) + 2,
    'two looks are over',
  );
}

test('no rotation is begun in the place of one whose row was altered or taken away', async () => {
  await using server = await waiting();
  const before = await authorities(server);
  const { operations } = await server.admin('Authorities/GetRotationStatus');
  const { id } = operations.find(({ kind }) => kind === 'issuing') as { id: string };
  sql(server, `UPDATE rotations SET state = 'done' WHERE id = ?`, id);
  await until(async () => (await codes(server)).includes('ROTATION_ALTERED'), 'it is told');
  await looked(server);
  assert.deepEqual(await authorities(server), before);
  const again = server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  assert.equal(await codeOf(again), 'OBJECT_NOT_IN_LOG');
  sql(server, `UPDATE rotations SET state = 'running' WHERE id = ?`, id);
  await until(async () => !(await codes(server)).includes('ROTATION_ALTERED'), 'it is put right');
  await server.admin('Authorities/ContinueRotation', {
    ...{ kind: 'issuing', force: true, reason: 'nobody is there' },
  });
  await until(async () => (await authorities(server)).includes('issuing old'), 'it goes on');
});

test('no authority is made in the place of one whose row was altered, across a start too', async () => {
  await using server = await waiting();
  const before = await authorities(server);
  const list = (await server.admin('Authorities/ListAuthorities')).authorities;
  const { id } = list.find(({ kind, state }) => kind === 'jwt' && state === 'active') as {
    id: string;
  };
  sql(server, `UPDATE authorities SET kind = 'log' WHERE id = ?`, id);
  await until(async () => (await codes(server)).includes('AUTHORITY_ALTERED'), 'it is told');
  await looked(server);
  await server.stop();
  assert.equal(await codeOf(server.restart()), 'OBJECT_NOT_IN_LOG');
  sql(server, `UPDATE authorities SET kind = 'jwt' WHERE id = ?`, id);
  await server.restart();
  await until(async () => !(await codes(server)).includes('AUTHORITY_ALTERED'), 'it is put right');
  assert.deepEqual(await authorities(server), before);
});

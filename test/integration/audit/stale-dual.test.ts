import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDualWorld, switchOn } from '../../support/dual-control.ts';
import { backupOf, putBack } from '../../support/restore.ts';
import { codeOf } from '../../support/server.ts';
import { logSettled } from '../../support/settled.ts';
import { until } from '../../support/until.ts';

test("under dual control one admin can't accept a loss; approvals given while stale count and are logged", async () => {
  await using world = await startDualWorld();
  const { server, keys } = world;
  await switchOn(world);
  await logSettled(server);
  const backup = await backupOf(server);
  for (let at = 0; at < 3; at += 1)
    await server.admin('Tokens/CreateJoinToken', { agentName: `lost-${at}` });
  await putBack(server, backup);
  await server.restart();
  const { stale, expected } = await server.admin('Server/ShowRestore');
  assert.equal(stale, true);
  const accept = () => server.admin('Server/AcceptRestore', { size: Number(expected) });
  const id = await world.held(accept());
  await world.approve(id, keys.alice);
  assert.equal((await server.admin('Server/ShowRestore')).stale, true, 'one is not enough');
  // a restart in between: what was proposed and signed while the tree stood still is under its seal
  await server.restart();
  assert.equal((await server.admin('Approvals/GetOperation', { id })).operation?.status, 'pending');
  assert.equal((await world.approve(id, keys.bob)).operation?.status, 'executed');
  assert.equal((await server.admin('Server/ShowRestore')).stale, false);
  await until(() => server.server.port !== 0);
  assert.equal((await server.admin('Server/GetStatus')).ready, true);
  const { records } = await server.admin('Audit/ListAuditRecords', {
    kind: 'database.restored',
    page: { size: 10, token: '' },
  });
  assert.equal(records.length, 1);
  assert.equal(
    await codeOf(
      server.admin('Roles/PutRole', {
        role: { name: 'x', verbs: ['*'], prefixes: ['spiffe://mesh.test/'], members: [] },
      }),
    ),
    'APPROVAL_REQUIRED',
    'it is still on',
  );
  await server.restart();
  assert.equal((await server.admin('Server/GetStatus')).ready, true);
  assert.equal(
    (await server.admin('Approvals/GetOperation', { id })).operation?.status,
    'executed',
    'and its outcome is proven by the log',
  );
});

import assert from 'node:assert/strict';
import { rename } from 'node:fs/promises';
import { test } from 'node:test';
import { systemClock } from '../../../src/common/runtime/index.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('records without a checkpoint for minutes make a server unready, and its metric grows', async () => {
  let aheadMs = 0;
  await using server = await startTestServer({
    clock: { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs },
  });
  const { tokenDir } = server.tokens;
  const at = async (path: string): Promise<string> =>
    (await fetch(`http://127.0.0.1:${server.server.opsPort}${path}`)).text();
  const waitingSeconds = async (): Promise<number> =>
    Number(/^meshca_audit_waiting_seconds ([0-9.]+)$/m.exec(await at('/metrics'))?.[1]);
  const isLate = async (): Promise<boolean> =>
    (await at('/ready')).includes('AUDIT_LATE: records of the audit log have no checkpoint');

  await until(async () => (await server.admin('Server/GetStatus')).ready === true, 'the server');
  await rename(tokenDir, `${tokenDir}.away`);
  await server.admin('Tokens/CreateJoinToken', { agentName: 'node-1' });
  await until(async () => (await waitingSeconds()) > 0, 'a record that waits');
  assert.equal(await isLate(), false);
  aheadMs = 121_000;
  await until(isLate, 'the reason');
  assert.ok((await waitingSeconds()) >= 120);

  await rename(`${tokenDir}.away`, tokenDir);
  await until(async () => !(await isLate()), 'the end of the reason');
  await until(async () => (await server.admin('Server/GetStatus')).ready === true, 'the server');
  assert.equal(await waitingSeconds(), 0);
});

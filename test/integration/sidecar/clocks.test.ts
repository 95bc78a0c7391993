import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock, type Clock } from '../../../src/common/runtime/index.ts';
import { agentSeat } from '../../support/agent-seat.ts';
import { machine } from '../../support/machine.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const day = 86_400;
const shifted = (seconds: number): Clock => ({
  ...systemClock,
  now: () => systemClock.now() + seconds,
  nowMs: () => systemClock.nowMs() + seconds * 1000,
});
const nodeAt = async (server: TestServer, seconds: number) => {
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: `n${seconds}` });
  return agentSeat(server, { joinToken: { token } }, { clock: shifted(seconds) });
};

test('an agent that takes the server for expired or not begun names the clocks of both sides', async () => {
  await using server = await startTestServer();
  for (const seconds of [-180, -day, 1000 * day]) {
    await using seat = await nodeAt(server, seconds);
    await seat.start();
    const said = (): string => seat.agent.status().lastError ?? '';
    await until(() => said() !== '', 'the refusal');
    assert.match(said(), /^SERVER_UNTRUSTED: .* is not valid by the clock of this node: /);
    assert.match(said(), /and the clock that judges it says \d{4}-/);
  }
});

test('an agent whose clock is ahead by minutes works, and says by how much', async () => {
  await using server = await startTestServer();
  await using seat = await nodeAt(server, 180);
  await seat.start();
  await seat.connected();
  const status = (): { readonly ready?: boolean; readonly reasons?: readonly string[] } =>
    seat.agent.status();
  await until(() => status().ready === true, 'that it is ready');
  assert.match(
    (status().reasons ?? []).join(),
    /the clock of this node is 1[78]\d s ahead of the clock of the server: compare both/,
  );
});

test('a server whose clock went back signs nothing, says so, and signs once it is right', async () => {
  const on = machine();
  await using server = await startTestServer({ clock: on.clock, boot: on.boot });
  await server.stop();
  on.pass(-day);
  await server.restart();
  const reasons = async (): Promise<string> =>
    (await server.admin('Server/GetStatus')).reasons.join('\n');
  assert.match(await reasons(), /NO_ISSUER: .* begins at .* the clock of this server says/);
  assert.match(await reasons(), /Set the clock of the server right/);
  await server.stop();
  on.pass(day);
  await server.restart();
  assert.ok((await server.mint('spiffe://mesh.test/web')).serial.length > 0);
});

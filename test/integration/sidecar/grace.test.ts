import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentSeat } from '../../support/agent-seat.ts';
import { machine } from '../../support/machine.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer } from '../../support/server.ts';

const day = 86_400;

test('an agent comes back by its key after the server was away for longer than its grace', async () => {
  const on = machine();
  await using server = await startTestServer({
    clock: on.clock,
    boot: on.boot,
    // the agent finds it there again
    config: { listen: { port: await freePort() } },
  });
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  await using seat = await agentSeat(server, { joinToken: { token } }, { clock: on.clock });
  await seat.start();
  await seat.connected();
  await seat.stop();
  const before = await seat.keptSerial();
  await server.stop();
  on.pass(20 * day);
  await server.restart();
  await seat.start();
  await seat.connected();
  assert.notEqual(await seat.keptSerial(), before);
});

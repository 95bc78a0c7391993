import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentSeat } from '../../support/agent-seat.ts';
import { runCommand } from '../../support/command.ts';
import { machine } from '../../support/machine.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const day = 86_400;

test('past the end of the root the named command helps, and an agent that slept walks to the new root', async () => {
  const on = machine();
  await using server = await startTestServer({
    clock: on.clock,
    boot: on.boot,
    config: {
      // the agent finds it there again
      listen: { port: await freePort() },
      authorities: { root: { lifeDays: 30 }, issuing: { lifeDays: 10 }, jwt: { lifeDays: 10 } },
    },
  });
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  await using seat = await agentSeat(server, { joinToken: { token } }, { clock: on.clock });
  await seat.start();
  await seat.connected();
  const before = await seat.keptSerial();
  await seat.stop();
  await server.stop();
  on.pass(31 * day);
  await server.restart();

  const { reasons } = await server.admin('Server/GetStatus');
  const command = /run "meshca (authority rotate --kind root --force --reason) TEXT"/.exec(
    reasons.join(),
  )?.[1];
  assert.ok(command !== undefined, reasons.join());
  const rotated = await runCommand(server, [...command.split(' '), 'it ended', '--no-wait']);
  assert.equal(rotated.code, 0, rotated.err);
  await until(async () => (await server.admin('Server/GetStatus')).ready === true, 'the server');

  await seat.start();
  await seat.connected();
  assert.notEqual(await seat.keptSerial(), before);
  const { authorities } = await server.admin('Authorities/ListAuthorities', {});
  assert.equal(
    authorities.filter(({ kind, state }) => kind === 'root' && state === 'active').length,
    1,
  );
});

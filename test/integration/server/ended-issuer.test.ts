import assert from 'node:assert/strict';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { test } from 'node:test';
import { machine, type Machine } from '../../support/machine.ts';
import { runCommand } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const day = 86_400;
const lives = { root: { lifeDays: 30 }, issuing: { lifeDays: 10 }, jwt: { lifeDays: 10 } };

const startOn = (on: Machine, automatic: boolean): Promise<TestServer> =>
  startTestServer({
    clock: on.clock,
    boot: on.boot,
    config: { authorities: lives, rotation: { automatic } },
  });

const readiness = async (
  server: TestServer,
): Promise<{ readonly ready: boolean; readonly reasons: readonly string[] }> =>
  (await fetch(`http://127.0.0.1:${server.server.opsPort}/ready`)).json() as never;
const ready = (server: TestServer): Promise<void> =>
  until(async () => (await readiness(server)).ready, 'the server');
const issuers = async (server: TestServer) =>
  ((await server.admin('Authorities/GetRotationStatus')).authorities ?? []).filter(
    ({ authority }) => authority?.kind === 'issuing',
  );
test('near the expiry of its issuer the server has a cut certificate, and after it is unready with advice', async () => {
  const on = machine();
  await using server = await startOn(on, false);
  await server.stop();
  on.pass(10 * day - 3_600);
  await server.restart();
  await ready(server);
  const [issuer] = await issuers(server);
  const socket = connect({
    host: '127.0.0.1',
    port: server.server.port,
    rejectUnauthorized: false,
  });
  await once(socket, 'secureConnect');
  const shown = socket.getPeerCertificate();
  socket.destroy();
  assert.equal(Date.parse(shown.valid_to) / 1000, issuer?.authority?.notAfter);

  await server.stop();
  on.pass(2 * day);
  await server.restart();
  const { reasons } = await readiness(server);
  assert.match(reasons.join(), /ISSUER_ENDED: the issuing authority/);
  const command = /run "meshca (authority rotate --kind issuing)"/.exec(reasons.join())?.[1];
  const rotated = await runCommand(server, [...(command ?? '').split(' '), '--no-wait']);
  assert.equal(rotated.code, 0, rotated.err);
  await ready(server);
  assert.equal((await issuers(server)).length, 2);
});

test('after the expiry of its issuer a server with a schedule makes the next one, if its clock is believed', async () => {
  const on = machine();
  await using server = await startOn(on, true);
  await server.stop();
  on.pass(11 * day);
  on.reboot();
  await server.restart();
  const { reasons } = await readiness(server);
  assert.match(reasons.join(), /accept-clock --reason TEXT/);
  const status = await server.admin('Authorities/GetRotationStatus');
  assert.ok(status.notes?.some(({ code }) => code === 'CLOCK_UNPROVEN'));
  await until(
    async () => (await server.admin('Authorities/GetRotationStatus')).acting === true,
    'that rotation acts',
  );
  assert.equal((await issuers(server)).length, 1);
  const accepted = await runCommand(server, [
    ...['authority', 'accept-clock', '--reason', 'the machine was off for 11 days'],
  ]);
  assert.equal(accepted.code, 0, accepted.err);
  await ready(server);
  const { out } = await runCommand(server, [
    ...['audit', 'list', '--kind', 'authority.active', '--json'],
  ]);
  assert.match(out, /"without":\s*"ended"/);
});

test('past the end of the root the reason names the command, which brings a new root and intermediate', async () => {
  const on = machine();
  await using server = await startOn(on, true);
  await server.stop();
  on.pass(31 * day);
  await server.restart();
  const { reasons } = await readiness(server);
  const command = /run "meshca (authority rotate --kind root --force --reason) TEXT"/.exec(
    reasons.join(),
  )?.[1];
  assert.ok(command !== undefined, reasons.join());
  const rotated = await runCommand(server, [...command.split(' '), 'it ended', '--no-wait']);
  assert.equal(rotated.code, 0, rotated.err);
  await ready(server);
});

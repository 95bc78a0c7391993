import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AddressInfo } from 'node:net';
import { openDriver } from '../../../../../sidecar/files/drivers/index.ts';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import {
  codeOf,
  driverOf,
  neverAborted,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

/** A script in the directory of a target, which is gone with it. */
function script(target: TargetDirectory, name: string, ...lines: readonly string[]): string {
  const path = join(target.path, name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  return path;
}

test('a command gets its arguments as they are, and the names of target and set', async () => {
  using target = new TargetDirectory();
  const [first, second] = [target.write(), target.write()];
  const out = join(target.path, 'out');
  const reload = script(
    target,
    'reload',
    `echo "$# $1 $MESHCA_TARGET $MESHCA_DIRECTORY $MESHCA_SET" >> ${out}`,
  );
  const driver = driverOf({ type: 'command', settings: { reload: [reload, 'a b; exit 1'] } });
  const call = target.call(second, first);
  assert.equal(unwrap(await driver.apply(call, neverAborted)).trust, 'unknown');
  assert.ok((await driver.rollback(call, neverAborted)).ok);
  assert.equal(
    readFileSync(out, 'utf8'),
    [second, first].map(({ name }) => `1 a b; exit 1 web ${target.path} ${name}\n`).join(''),
  );
});

test('a check that does not end with 0 refuses the set, and nothing is reloaded', async () => {
  using target = new TargetDirectory();
  const ran = join(target.path, 'ran');
  const reload = [script(target, 'reload', `touch ${ran}`)];
  const check = [script(target, 'check', 'echo "bad key" >&2; exit 2')];
  const driver = driverOf({ type: 'command', settings: { check, reload } });
  const call = target.call(target.write());
  assert.equal(codeOf(await driver.apply(call, neverAborted)), 'DRIVER_REFUSED');
  assert.ok(!existsSync(ran));
  const failing = [script(target, 'failing', 'exit 1')];
  const other = driverOf({ type: 'command', settings: { reload: failing } });
  assert.equal(codeOf(await other.apply(call, neverAborted)), 'DRIVER_FAILED');
});

async function listen(server: Server, place: string | number): Promise<void> {
  if (typeof place === 'string') server.listen(place);
  else server.listen(place, '127.0.0.1');
  await once(server, 'listening');
}

test('a server is told over HTTP, at a Unix socket or the loopback, and its status decides', async () => {
  using target = new TargetDirectory();
  const call = target.call(target.write());
  const seen: string[] = [];
  let status = 204;
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.writeHead(status).end('reason');
  });
  const socket = join(target.path, 'http.sock');
  await listen(server, socket);
  const settings = { address: socket, path: '/-/reload?now', refusedStatus: [422] };
  const driver = driverOf({ type: 'http', settings });
  assert.ok((await driver.apply(call, neverAborted)).ok);
  assert.deepEqual(seen, ['POST /-/reload?now']);
  status = 422;
  assert.equal(codeOf(await driver.apply(call, neverAborted)), 'DRIVER_REFUSED');
  for (status of [302, 500])
    assert.equal(codeOf(await driver.apply(call, neverAborted)), 'DRIVER_FAILED');
  server.close();
  await once(server, 'close');
  assert.match(unwrap(await driver.apply(call, neverAborted)).note, /nobody listens/);

  const other = createServer((_, response) => response.end());
  await listen(other, 0);
  const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  const tcp = driverOf({ type: 'http', settings: { address, method: 'PUT', path: '/' } });
  assert.ok((await tcp.apply(call, neverAborted)).ok);
  other.close();
  await once(other, 'close');
});

test('addresses off this machine, relative paths and schemes are refused by the configuration', () => {
  for (const address of [
    '192.0.2.1:80',
    'example.org:80',
    '0.0.0.0:80',
    'run/a.sock',
    'http://localhost',
    'localhost',
    'localhost:0',
    'localhost:70000',
    '127.0.0.1.example.org:80',
  ]) {
    const choice = { type: 'http', settings: { address, path: '/' }, timeoutSeconds: 1 };
    assert.equal(
      codeOf(openDriver(choice, { clock: systemClock, stapled: () => {} })),
      'CONFIG_INVALID',
      address,
    );
  }
});

test('a unit is reloaded by systemctl; one that does not run is no failure', async () => {
  using target = new TargetDirectory();
  const call = target.call(target.write());
  const out = join(target.path, 'out');
  const state = join(target.path, 'state');
  // systemd does not run where these tests run: this stands for its command line
  const systemctl = script(
    target,
    'systemctl',
    `echo "$@" >> ${out}`,
    `[ "$1" = is-active ] && exit $(cat ${state})`,
    `[ "$3" = web.service ] || { echo "Unit $3 not found." >&2; exit 5; }`,
  );
  const driver = driverOf({ type: 'systemd', settings: { unit: 'web.service', systemctl } });
  writeFileSync(state, '0');
  assert.equal(unwrap(await driver.apply(call, neverAborted)).note, 'web.service was reloaded');
  assert.equal(
    readFileSync(out, 'utf8'),
    'is-active --quiet -- web.service\nreload -- web.service\n',
  );
  const absent = driverOf({ type: 'systemd', settings: { unit: 'none.service', systemctl } });
  const failed = await absent.apply(call, neverAborted);
  assert.equal(codeOf(failed), 'DRIVER_FAILED');
  assert.match(String(!failed.ok && failed.error.message), /Unit none.service not found/);
  writeFileSync(state, '3');
  assert.match(unwrap(await driver.apply(call, neverAborted)).note, /does not run/);
});

test('a name of a unit that could be an option or a path is refused', () => {
  for (const unit of ['--now', 'web', '../web.service', 'a b.service', '-x.service']) {
    const choice = { type: 'systemd', settings: { unit }, timeoutSeconds: 1 };
    assert.equal(
      codeOf(openDriver(choice, { clock: systemClock, stapled: () => {} })),
      'CONFIG_INVALID',
      unit,
    );
  }
});

test('the driver none does nothing in each step', async () => {
  using target = new TargetDirectory();
  const call = target.call(target.write());
  const driver = driverOf({ type: 'none', settings: {} });
  for (const step of ['stage', 'apply', 'verify', 'rollback', 'remove'] as const)
    assert.ok((await driver[step](call, neverAborted)).ok);
});

test('touching the file that Traefik watches sets its times; one that is not there is named', async () => {
  using target = new TargetDirectory();
  const call = target.call(target.write());
  const dynamicFile = join(target.path, 'dynamic.yaml');
  const driver = driverOf({ type: 'traefik', settings: { dynamicFile } });
  const result = await driver.apply(call, neverAborted);
  assert.equal(codeOf(result), 'DRIVER_FAILED');
  writeFileSync(dynamicFile, '');
  assert.ok((await driver.apply(call, neverAborted)).ok);
});

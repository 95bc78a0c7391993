import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDriver } from '../../../../../sidecar/files/drivers/index.ts';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { systemClock, type Clock } from '../../../../../src/common/runtime/index.ts';
import { codeOf, neverAborted, TargetDirectory } from '../../../../support/servers/index.ts';

const limitMs = 600_000;

for (const [type, settings] of [
  ['redis', (socket: string) => ({ address: socket })],
  ['haproxy', (socket: string) => ({ socket })],
  ['caddy', (socket: string) => ({ admin: socket })],
  ['envoy', (socket: string) => ({ admin: socket, secret: 'svid' })],
  ['http', (socket: string) => ({ address: socket, path: '/' })],
] as const)
  test(`a server that takes the connection of the driver ${type} and says nothing is given up`, async () => {
    using target = new TargetDirectory();
    const set = target.write();
    target.swap(set);
    const path = join(target.path, 'silent.sock');
    const server = createServer().listen(path);
    await once(server, 'listening');
    let reachLimit = (): void => {};
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, callback) => {
        assert.equal(delayMs, limitMs);
        reachLimit = callback;
        return () => {};
      },
    };
    const choice = { type, settings: settings(path), timeoutSeconds: limitMs / 1000 };
    const driver = unwrap(openDriver(choice, { clock, stapled: () => {} }));
    const connected = once(server, 'connection');
    const step = driver.apply(target.call(set), neverAborted);
    const [socket] = (await connected) as [Socket];
    reachLimit();
    assert.equal(codeOf(await step), 'DRIVER_TIMEOUT');
    socket.destroy();
    server.close();
    await once(server, 'close');
  });

test('what HAProxy would repeat of a key comes into no message', async () => {
  using target = new TargetDirectory();
  const set = target.write();
  target.swap(set);
  const path = join(target.path, 'echo.sock');
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('data', (bytes) => (text += String(bytes)));
    socket.on('end', () => socket.end(text.startsWith('set') ? `Unknown: ${text}` : 'Serial: 01'));
  }).listen(path);
  await once(server, 'listening');
  const choice = { type: 'haproxy', settings: { socket: path }, timeoutSeconds: 60 };
  const driver = unwrap(openDriver(choice, { clock: systemClock, stapled: () => {} }));
  const result = await driver.apply(target.call(set), neverAborted);
  assert.equal(codeOf(result), 'DRIVER_FAILED');
  assert.match(String(!result.ok && result.error.message), /is left out$/);
  server.close();
  await once(server, 'close');
});

test('a path that would end a command of HAProxy is sent to nobody', async () => {
  using target = new TargetDirectory();
  const set = target.write();
  const call = { ...target.call(set), directory: '/etc/a;disable server web/1' };
  const settings = { socket: join(target.path, 'none.sock') };
  const choice = { type: 'haproxy', settings, timeoutSeconds: 60 };
  const driver = unwrap(openDriver(choice, { clock: systemClock, stapled: () => {} }));
  assert.equal(codeOf(await driver.apply(call, neverAborted)), 'DRIVER_FAILED');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { parseReply, RedisError } from '../../../../../sidecar/files/drivers/redis/resp.ts';
import {
  clientOf,
  codeOf,
  DriverSteps,
  newAuthorities,
  startRedis,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

test('Redis takes a new set with its roots at once, and says so', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startRedis(target);
  const steps = new DriverSteps(server.driver, target, first);
  const next = newAuthorities('next');
  assert.equal(await server.admits(clientOf(next)), false);
  const second = target.write({ roots: [target.authorities.root, next.root] });
  assert.deepEqual(unwrap(await steps.deliver(second)), {
    trust: 'loaded',
    note: 'Redis took the files',
  });
  assert.equal(await server.serial(), second.serial);
  assert.equal(await server.admits(clientOf(next)), true);
});

test('Redis refuses a wrong pair and keeps the old one; the way back is taken', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startRedis(target);
  const steps = new DriverSteps(server.driver, target, first);
  const wrong = target.write({ wrongKey: true });
  assert.equal(codeOf(await steps.deliver(wrong)), 'DRIVER_REFUSED');
  assert.equal(await server.serial(), first.serial);
  assert.ok((await steps.rollBack(wrong)).ok);
  const third = target.write();
  assert.ok((await steps.deliver(third)).ok);
  assert.equal(await server.serial(), third.serial);
});

test('a redis.conf with other files, or a wrong password, is noticed before the swap', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startRedis(target);
  using other = new TargetDirectory();
  const set = other.write();
  const astray = new DriverSteps(server.driver, other, set);
  await assert.rejects(astray.deliver(set), { code: 'DRIVER_FAILED', message: /tls-cert-file/ });
  const settings = { ...server.driver.settings, passwordFile: target.file('cert') };
  const wrong = new DriverSteps({ type: 'redis', settings }, target, first);
  await assert.rejects(wrong.deliver(target.write()), {
    code: 'DRIVER_FAILED',
    message: /WRONGPASS/,
  });
  const open = { address: (server.driver.settings as { address: string }).address };
  const nameless = new DriverSteps({ type: 'redis', settings: open }, target, first);
  await assert.rejects(nameless.deliver(target.write()), { message: /NOAUTH/ });
});

test('Redis that does not run is no failure', async () => {
  using target = new TargetDirectory();
  const settings = { address: `${target.path}/none.sock` };
  const steps = new DriverSteps({ type: 'redis', settings }, target);
  assert.equal(unwrap(await steps.deliver(target.write())).note, 'Redis does not run');
});

test('answers of Redis are read only when they are whole', () => {
  for (const [text, value] of [
    ['+OK\r\n', 'OK'],
    ['$5\r\na\r\nbc\r\n', 'a\r\nbc'],
    ['$-1\r\n', undefined],
    ['*2\r\n$1\r\na\r\n:7\r\n', ['a', '7']],
    ['*0\r\n', []],
  ] as const) {
    const bytes = Buffer.from(text);
    assert.deepEqual(parseReply(bytes, 0), { value, end: bytes.length });
    for (let length = 0; length < bytes.length; length += 1)
      assert.equal(parseReply(bytes.subarray(0, length), 0), undefined, text.slice(0, length));
  }
  assert.ok(parseReply(Buffer.from('-ERR no\r\n'), 0)?.value instanceof RedisError);
  assert.throws(() => parseReply(Buffer.from('HTTP/1.1 400\r\n'), 0), { code: 'DRIVER_FAILED' });
});

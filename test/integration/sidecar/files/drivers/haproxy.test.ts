import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  clientOf,
  codeOf,
  DriverSteps,
  handshake,
  newAuthorities,
  startHaproxy,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

test('HAProxy takes a new set over its socket, shows that it uses it, and keeps connections', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target);
  const steps = new DriverSteps(server.driver, target, first);
  const kept = await handshake(server.listener);
  const second = target.write();
  const note = 'HAProxy uses the certificate and the roots';
  assert.deepEqual(unwrap(await steps.deliver(second)), { trust: 'loaded', note });
  assert.equal(await server.serial(), second.serial);
  assert.deepEqual(unwrap(await steps.verify()), { trust: 'loaded', note });
  assert.equal(kept.destroyed, false);
  kept.destroy();
});

test('HAProxy gets new roots by a reload, and then admits a client under a new one', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target);
  const steps = new DriverSteps(server.driver, target, first);
  const next = newAuthorities('next');
  assert.equal(await server.admits(clientOf(next)), false);
  const both = target.write({ roots: [target.authorities.root, next.root] });
  assert.equal(unwrap(await steps.deliver(both)).trust, 'loaded');
  assert.equal(await server.admits(clientOf(next)), true);
  assert.equal(await server.admits(clientOf(target.authorities)), true);
  const plain = target.write({ roots: [target.authorities.root, next.root] });
  assert.equal(unwrap(await steps.deliver(plain)).trust, 'loaded');
  const after = target.write({ authority: next });
  assert.equal(unwrap(await steps.deliver(after)).trust, 'loaded');
  assert.equal(await server.admits(clientOf(target.authorities)), false);
});

test('HAProxy refuses a wrong pair; no transaction stays, and the next set is taken', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target);
  const steps = new DriverSteps(server.driver, target, first);
  const wrong = target.write({ wrongKey: true });
  const refused = await steps.deliver(wrong);
  assert.equal(codeOf(refused), 'DRIVER_REFUSED');
  assert.match(String(!refused.ok && refused.error.message), /inconsistencies between private key/);
  assert.equal(await server.serial(), first.serial);
  assert.ok((await steps.rollBack(wrong)).ok);
  const third = target.write();
  assert.ok((await steps.deliver(third)).ok);
  assert.equal(await server.serial(), third.serial);
});

test('the roots of the other set are no proof: verify says that HAProxy has other ones', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target);
  const unknown = { ...first, directory: target.write({ authority: newAuthorities() }).directory };
  const steps = new DriverSteps(server.driver, target, unknown);
  assert.equal(codeOf(await steps.verify()), 'DRIVER_FAILED');
  steps.served = target.write();
  assert.equal(codeOf(await steps.verify()), 'DRIVER_FAILED');
});

test('a certificate that HAProxy does not know is noticed before the swap', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target);
  const settings = { ...server.driver.settings, certificateName: '/etc/haproxy/other.pem' };
  const steps = new DriverSteps({ type: 'haproxy', settings }, target, first);
  await assert.rejects(steps.deliver(target.write()), { code: 'DRIVER_FAILED' });
  assert.equal(target.currentSerial, first.serial);
});

test('changed roots without a configured reload are refused before the swap', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target, 'socket');
  const steps = new DriverSteps(server.driver, target, first);
  assert.equal(unwrap(await steps.deliver(target.write())).trust, 'loaded');
  const current = target.currentSerial;
  const next = target.write({ authority: newAuthorities('next') });
  await assert.rejects(steps.deliver(next), { code: 'DRIVER_FAILED', message: /by a reload only/ });
  assert.equal(target.currentSerial, current);
});

test('HAProxy in master-worker mode starts a worker with the new set, and none with a wrong pair', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startHaproxy(target, 'reload');
  const steps = new DriverSteps(server.driver, target, first);
  const second = target.write();
  assert.equal(unwrap(await steps.deliver(second)).note, 'HAProxy has a new worker');
  await server.shows(second.serial);
  const wrong = target.write({ wrongKey: true });
  assert.equal(codeOf(await steps.deliver(wrong)), 'DRIVER_REFUSED');
  assert.ok((await steps.rollBack(wrong)).ok);
  await server.shows(second.serial);
});

test('HAProxy that does not run is no failure', async () => {
  using target = new TargetDirectory();
  const socket = `${target.path}/none.sock`;
  const steps = new DriverSteps({ type: 'haproxy', settings: { socket } }, target);
  assert.equal(unwrap(await steps.deliver(target.write())).note, 'HAProxy does not run');
  assert.equal(unwrap(await steps.verify()).note, 'HAProxy does not run');
});

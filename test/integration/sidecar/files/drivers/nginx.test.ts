import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  clientOf,
  codeOf,
  DriverSteps,
  handshake,
  newAuthorities,
  startNginx,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

test('nginx serves a new set in all workers once the step ends, and keeps open connections', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startNginx(target);
  const steps = new DriverSteps(server.driver, target, first);
  const kept = await handshake(server.listener);
  const second = target.write();
  assert.deepEqual(unwrap(await steps.deliver(second)), {
    trust: 'loaded',
    note: 'nginx has new workers',
  });
  for (let count = 0; count < 10; count += 1) assert.equal(await server.serial(), second.serial);
  assert.equal(kept.destroyed, false);
  kept.destroy();
});

test('nginx refuses a wrong pair before any worker changes, and takes the way back', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startNginx(target);
  const steps = new DriverSteps(server.driver, target, first);
  const wrong = target.write({ wrongKey: true });
  const refused = await steps.deliver(wrong);
  assert.equal(codeOf(refused), 'DRIVER_REFUSED');
  assert.match(String(!refused.ok && refused.error.message), /key values mismatch/);
  assert.equal(await server.serial(), first.serial);
  assert.ok((await steps.rollBack(wrong)).ok);
  assert.equal(await server.serial(), first.serial);
  assert.ok((await steps.deliver(target.write())).ok);
});

test('a client under a new root is let in once nginx has loaded the roots', async () => {
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startNginx(target);
  const steps = new DriverSteps(server.driver, target, first);
  const next = newAuthorities('next');
  const client = clientOf(next);
  assert.equal(await server.admits(client), false);
  const both = target.write({ roots: [target.authorities.root, next.root] });
  assert.equal(unwrap(await steps.deliver(both)).trust, 'loaded');
  assert.equal(await server.admits(client), true);
});

test('nginx that does not run is no failure: it reads the set when it starts', async () => {
  using target = new TargetDirectory();
  const settings = { pidFile: `${target.path}/nginx.pid`, program: '/usr/sbin/nginx' };
  const steps = new DriverSteps({ type: 'nginx', settings }, target);
  assert.deepEqual(unwrap(await steps.deliver(target.write())), {
    trust: 'unknown',
    note: 'nginx does not run',
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  clientOf,
  codeOf,
  DriverSteps,
  newAuthorities,
  postgresUser,
  startPostgres,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

const newTarget = (): TargetDirectory =>
  new TargetDirectory(postgresUser === undefined ? {} : { owner: postgresUser });

test('PostgreSQL serves a new set, keeps its own at a wrong pair, and takes the way back', async () => {
  using target = newTarget();
  const first = target.write();
  target.swap(first);
  await using server = await startPostgres(target);
  const steps = new DriverSteps(server.driver, target, first);
  const next = newAuthorities('next');
  assert.equal(await server.admits(clientOf(next)), false);
  const second = target.write({ roots: [target.authorities.root, next.root] });
  assert.equal(unwrap(await steps.deliver(second)).trust, 'unknown');
  await server.shows(second.serial);
  assert.equal(await server.admits(clientOf(next)), true);

  // it takes the signal, and says in its log alone that it refused the files
  const wrong = target.write({ wrongKey: true });
  const { served } = steps;
  assert.ok((await steps.deliver(wrong)).ok);
  await server.logs(/SSL configuration was not reloaded/);
  assert.equal(await server.serial(), second.serial);
  steps.served = served;
  assert.ok((await steps.rollBack(wrong)).ok);
  const third = target.write();
  assert.ok((await steps.deliver(third)).ok);
  await server.shows(third.serial);
});

test('PostgreSQL reloads by SQL over its Unix socket, which needs no right to send signals', async () => {
  using target = newTarget();
  const first = target.write();
  target.swap(first);
  await using server = await startPostgres(target);
  const { settings } = server.sql;
  const steps = new DriverSteps(server.sql, target, first);
  const second = target.write();
  assert.equal(unwrap(await steps.deliver(second)).note, 'pg_reload_conf() was called');
  await server.shows(second.serial);

  const stranger = new DriverSteps(
    { type: 'postgresql', settings: { ...settings, user: 'nobody' } },
    target,
    second,
  );
  assert.equal(codeOf(await stranger.deliver(target.write())), 'DRIVER_FAILED');
  const away = new DriverSteps(
    { type: 'postgresql', settings: { ...settings, socketDirectory: target.path } },
    target,
    second,
  );
  assert.equal(unwrap(await away.deliver(target.write())).note, 'PostgreSQL does not run');
});

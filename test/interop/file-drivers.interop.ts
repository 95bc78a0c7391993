import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../src/common/errors/index.ts';
import {
  clientOf,
  codeOf,
  DriverSteps,
  handshake,
  newAuthorities,
  startCaddy,
  startEnvoyFiles,
  startTraefik,
  TargetDirectory,
  type RunningServer,
} from '../support/servers/index.ts';
import { foreignProgram } from './foreign-programs.ts';

const programs = {
  envoy: foreignProgram('envoy'),
  caddy: foreignProgram('caddy'),
  traefik: foreignProgram('traefik'),
};
const program = (name: keyof typeof programs): string => programs[name][0] as string;

interface World extends AsyncDisposable {
  readonly target: TargetDirectory;
  readonly server: RunningServer;
  readonly steps: DriverSteps;
}

async function start(
  run: (target: TargetDirectory, path: string) => Promise<RunningServer>,
  path: string,
): Promise<World> {
  await using parts = new AsyncDisposableStack();
  const target = parts.use(new TargetDirectory());
  const first = target.write();
  target.swap(first);
  const server = parts.use(await run(target, path));
  const steps = new DriverSteps(server.driver, target, first);
  const kept = parts.move();
  return { target, server, steps, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

test('Envoy shows by serial that it has the leaf and exactly the roots of the set', async () => {
  await using world = await start(startEnvoyFiles, program('envoy'));
  const { target, server, steps } = world;
  const next = newAuthorities('next');
  const kept = await handshake(server.listener);
  assert.equal(await server.admits(clientOf(next)), false);
  const second = target.write({ roots: [target.authorities.root, next.root] });
  const loaded = { trust: 'loaded', note: 'Envoy uses the certificate and the roots' };
  assert.deepEqual(unwrap(await steps.deliver(second)), loaded);
  assert.equal(await server.serial(), second.serial);
  assert.equal(await server.admits(clientOf(next)), true);
  assert.equal(kept.destroyed, false);
  kept.destroy();
  const third = target.write({ authority: next });
  assert.deepEqual(unwrap(await steps.deliver(third)), loaded);
  assert.deepEqual(unwrap(await steps.verify()), loaded);
  assert.equal(await server.admits(clientOf(target.authorities)), false);
});

test('Envoy refuses a wrong pair by its counter and keeps the old one; the way back is taken', async () => {
  await using world = await start(startEnvoyFiles, program('envoy'));
  const { target, server, steps } = world;
  const first = target.currentSerial;
  const wrong = target.write({ wrongKey: true });
  assert.equal(codeOf(await steps.deliver(wrong)), 'DRIVER_REFUSED');
  assert.equal(await server.serial(), first);
  assert.ok((await steps.rollBack(wrong)).ok);
  const third = target.write();
  assert.ok((await steps.deliver(third)).ok);
  assert.equal(await server.serial(), third.serial);
});

test('a secret that Envoy does not have is noticed before the swap', async () => {
  await using world = await start(startEnvoyFiles, program('envoy'));
  const { target, server } = world;
  const first = target.currentSerial;
  const settings = { ...server.driver.settings, secret: 'other' };
  const steps = new DriverSteps({ type: 'envoy', settings }, target);
  await assert.rejects(steps.deliver(target.write()), { code: 'DRIVER_FAILED', message: /other/ });
  assert.equal(target.currentSerial, first);
});

test('Caddy loads key and roots at once, although its configuration is the same', async () => {
  await using world = await start(startCaddy, program('caddy'));
  const { target, server, steps } = world;
  const next = newAuthorities('next');
  assert.equal(await server.admits(clientOf(next)), false);
  const second = target.write({ roots: [target.authorities.root, next.root] });
  assert.deepEqual(unwrap(await steps.deliver(second)), {
    trust: 'loaded',
    note: 'Caddy loaded its configuration',
  });
  assert.equal(await server.serial(), second.serial);
  assert.equal(await server.admits(clientOf(next)), true);
});

test('Caddy loads a Caddyfile that the driver names', async () => {
  await using world = await start(startCaddy, program('caddy'));
  const { target, server, steps: first } = world;
  const { configFile } = server.files as { readonly configFile: string };
  const settings = { ...server.driver.settings, configFile };
  const steps = new DriverSteps({ type: 'caddy', settings }, target, first.served);
  const second = target.write();
  assert.equal(unwrap(await steps.deliver(second)).trust, 'loaded');
  assert.equal(await server.serial(), second.serial);
});

test('Caddy refuses a wrong pair and keeps the old one; the way back is taken', async () => {
  await using world = await start(startCaddy, program('caddy'));
  const { target, server, steps } = world;
  const first = target.currentSerial;
  const wrong = target.write({ wrongKey: true });
  const refused = await steps.deliver(wrong);
  assert.equal(codeOf(refused), 'DRIVER_REFUSED');
  assert.match(String(!refused.ok && refused.error.message), /private key does not match/);
  assert.equal(await server.serial(), first);
  assert.ok((await steps.rollBack(wrong)).ok);
  const third = target.write();
  assert.ok((await steps.deliver(third)).ok);
  assert.equal(await server.serial(), third.serial);
});

for (const by of ['the watched file', 'SIGHUP'] as const)
  test(`Traefik takes a new set by ${by}, and the way back after a wrong pair`, async () => {
    await using world = await start(startTraefik, program('traefik'));
    const { target, server, steps: watched } = world;
    const { pidFile } = server.files as { readonly pidFile: string };
    const settings = { pidFile, executable: program('traefik') };
    const steps =
      by === 'SIGHUP'
        ? new DriverSteps({ type: 'traefik', settings }, target, watched.served)
        : watched;
    const second = target.write();
    assert.equal(unwrap(await steps.deliver(second)).trust, 'unknown');
    await server.shows(second.serial);
    const { served } = steps;
    // nothing but a handshake tells that it serves the old certificate no more
    const wrong = target.write({ wrongKey: true });
    assert.ok((await steps.deliver(wrong)).ok);
    await server.logs(/private key does not match/);
    steps.served = served;
    assert.ok((await steps.rollBack(wrong)).ok);
    await server.shows(second.serial);
  });

test('servers that do not run are no failure', async () => {
  using target = new TargetDirectory();
  const path = `${target.path}/none.sock`;
  for (const [type, settings] of [
    ['envoy', { admin: path, secret: 'svid' }],
    ['caddy', { admin: path }],
  ] as const) {
    const steps = new DriverSteps({ type, settings }, target);
    assert.match(unwrap(await steps.deliver(target.write())).note, /does not run/);
  }
});

import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openTokenAdmin } from '../../src/hsm/index.ts';
import { silentLogger, systemClock } from '../../src/common/runtime/index.ts';
import { createWorld, type World } from '../../drills/world.ts';
import { patienceMs, until } from '../support/until.ts';

/**
 * Where a rotation of the root, with the intermediate that goes with it, is cut off: after a
 * record, a key, a signature, a transition.
 */
const steps = [
  'root-recorded',
  'root-key',
  'root-certificate',
  'root-published',
  'root-active',
  'issuing-certificate',
  'issuing-active',
  'issuing-old',
] as const;

interface Row {
  readonly kind: string;
  readonly state: string;
  readonly token: string;
  readonly cka_id: string;
}

function authorities(world: World): readonly Row[] {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  try {
    return database
      .prepare(
        "SELECT kind, state, token, cka_id FROM authorities WHERE kind <> 'log' ORDER BY kind, created_at, id",
      )
      .all() as unknown as Row[];
  } finally {
    database.close();
  }
}

test('a rotation goes on after kill -9 at any step, makes nothing twice, and leaves no unknown key', async () => {
  await using world = await createWorld({
    signal: new AbortController().signal,
    signers: 1,
    issuance: {
      bundleRefreshHintSeconds: 1,
      agentTtlSeconds: 60,
      maximumTtlSeconds: 60,
      defaultTtlSeconds: 60,
      serverTtlSeconds: 60,
    },
    sections: { rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1 } },
  });
  // the first start makes its own authorities, with steps of the same names
  const first = world.start();
  await first.ready;
  for (const step of steps) {
    const armed = { step, after: 1, victim: 'server' } as const;
    const server = step === steps[0] ? first : world.start({ arm: armed });
    if (server === first) {
      server.arm(armed);
      world.calls.admin('Authorities/RotateAuthorities', { kind: 'root' }).catch(() => {});
    }
    // it may die before it is ready: rotation goes on as soon as the server is up
    server.ready.catch(() => {});
    const how = await Promise.race([
      server.exited,
      new Promise<string>((resolve) =>
        setTimeout(() => resolve('still alive'), patienceMs).unref(),
      ),
    ]);
    assert.equal(how, 'SIGKILL', step);
    await server.kill();
  }
  const last = world.start();
  await last.ready;
  await until(
    () =>
      authorities(world).filter(({ state }) => state === 'active').length === 3 &&
      !authorities(world).some(({ state }) => state === 'published'),
    'the rotation is over',
  );
  assert.deepEqual(
    authorities(world).map(({ kind, state }) => `${kind} ${state}`),
    ['issuing old', 'issuing active', 'jwt active', 'root old', 'root active'],
  );
  await world.calls.learnRoots();
  await world.calls.mint('spiffe://drill.test/after');
  await last.stop();
  const { modulePath, environment, tokens } = world.tokens;
  const known = authorities(world);
  for (const role of ['root', 'issuing'] as const) {
    await using token = await openTokenAdmin(
      { modulePath, environment, tokenLabel: tokens[role].label, pin: tokens[role].pin },
      { execPath: process.execPath, clock: systemClock, logger: silentLogger },
    );
    const held = (await token.listKeys())
      .filter(({ label }) => !label.includes('/log/'))
      .map(({ ckaId }) => ckaId)
      .sort();
    assert.deepEqual(
      held,
      known
        .filter((each) => each.token === role)
        .map((each) => each.cka_id)
        .sort(),
    );
  }
});

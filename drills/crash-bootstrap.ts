import { randomInt } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger, systemClock } from '../src/common/runtime/index.ts';
import { openTokenAdmin } from '../src/hsm/index.ts';
import { patienceMs } from '../test/support/until.ts';
import type { Breaches, DrillContext } from './drill.ts';
import { createWorld, type World } from './world.ts';

const steps = [
  'root-recorded',
  'root-key',
  'root-certificate',
  'root-published',
  'root-active',
  'issuing-recorded',
  'issuing-key',
  'issuing-certificate',
  'issuing-published',
  'issuing-active',
  'jwt-recorded',
  'jwt-key',
  'jwt-published',
  'jwt-active',
] as const;

export interface BootstrapFigures {
  readonly kills: number;
  readonly at: readonly string[];
}

/**
 * The first start is killed. The next one must end with one authority of each kind, and without an
 * unknown key.
 */
export async function drillBootstrap(
  { short, say, signal }: DrillContext,
  breaches: Breaches,
): Promise<BootstrapFigures> {
  const plan: (string | number)[] = short
    ? ['root-key', 'root-certificate', 'issuing-key', randomInt(100, 900)]
    : [...steps, ...Array.from({ length: 20 }, () => randomInt(50, 1200))];
  const queue = [...plan];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      signal.throwIfAborted();
      await oneStart(next, signal, breaches);
    }
  };
  // two at a time, since most of a start is waiting for keys from the token
  await Promise.all([worker(), worker()]);
  say(`first start: killed ${plan.length} times`);
  return {
    kills: plan.length,
    at: plan.map((each) => (typeof each === 'string' ? each : `${each} ms`)),
  };
}

async function oneStart(
  at: string | number,
  signal: AbortSignal,
  breaches: Breaches,
): Promise<void> {
  await using world = await createWorld({ signal, signers: 1 });
  const what = `first start killed at ${typeof at === 'string' ? at : `${at} ms`}`;
  const first = world.start(
    typeof at === 'string' ? { arm: { step: at, after: 1, victim: 'server' } } : {},
  );
  if (typeof at === 'string') {
    const how = await Promise.race([
      first.exited,
      sleep(patienceMs, 'still alive', { ref: false }),
    ]);
    breaches.expect(how === 'SIGKILL', `${what}: the server was ${how}`);
  } else await sleep(at);
  breaches.expect(await first.kill(), `${what}: a process of the server outlived it`);
  const second = world.start();
  try {
    await second.ready;
    await world.calls.learnRoots();
    await world.calls.mint('spiffe://drill.test/after');
    await checkAuthorities(world, what, breaches);
  } catch (thrown) {
    breaches.add(`${what}: ${(thrown as Error).message}`);
  }
  await second.stop();
}

async function checkAuthorities(world: World, what: string, breaches: Breaches): Promise<void> {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  let authorities: { kind: string; state: string; token: string; cka_id: string }[];
  try {
    authorities = database
      .prepare('SELECT kind, state, token, cka_id FROM authorities ORDER BY kind')
      .all() as typeof authorities;
    const intents = database
      .prepare("SELECT count(*) AS n FROM certificates WHERE state = 'intent'")
      .get() as { n: number };
    breaches.expect(
      intents.n === 0,
      `${what}: an intent is neither issued nor listed as abandoned`,
    );
  } finally {
    database.close();
  }
  const kinds = authorities.map(({ kind, state }) => `${kind} ${state}`).join(', ');
  breaches.expect(
    kinds === 'issuing active, jwt active, log active, root active',
    `${what}: the authorities are ${kinds}`,
  );
  const { modulePath, environment, tokens } = world.tokens;
  for (const role of ['root', 'issuing'] as const) {
    await using token = await openTokenAdmin(
      { modulePath, environment, tokenLabel: tokens[role].label, pin: tokens[role].pin },
      { execPath: process.execPath, clock: systemClock, logger: silentLogger },
    );
    const held = (await token.listKeys())
      .map(({ ckaId }) => ckaId)
      .sort()
      .join(',');
    const known = authorities
      .filter((each) => each.token === role)
      .map((each) => each.cka_id)
      .sort()
      .join(',');
    breaches.expect(
      held === known,
      `${what}: the ${role} token holds ${held}, on record are ${known}`,
    );
  }
}

import { SimAgent } from '../test/support/sim-agent.ts';
import { patienceMs, until } from '../test/support/until.ts';
import type { Breaches } from './drill.ts';
import {
  decidesToWait,
  lastActivation,
  namedLaggards,
  reaches,
  rotate,
  seconds,
  successor,
} from './laggard-status.ts';
import { createWorld, livesOf, type World } from './world.ts';

/**
 * A deadline a few seconds ahead: the margin is all of the intermediate's life but those seconds.
 * First the deadline causes an alert only. Then, by configuration, the rotation goes on without the
 * agent that lags.
 */
export async function passDeadline(
  signal: AbortSignal,
  breaches: Breaches,
  say: (text: string) => void,
): Promise<number> {
  const startedMs = performance.now();
  await using world = await createWorld({
    signal,
    signers: 1,
    issuance,
    sections: sections('alert'),
  });
  const server = world.start();
  await server.ready;
  await world.calls.learnRoots();
  await using agent = await SimAgent.join(
    {
      rootsDer: world.calls.rootsDer,
      port: world.port,
      joinAgent: (name) => world.calls.joinAgent(name),
    },
    'sim',
    [],
  );
  agent.freeze();
  await rotate(world, 'issuing');
  await namedLaggards(world, 'issuing', ({ agentId }) => agentId === agent.credential.spiffeId);
  await alerted(world, 'DEADLINE_NEAR');
  await alerted(world, 'DEADLINE_PASSED');
  await decidesToWait(world, 'issuing', ['DEADLINE_PASSED']);
  breaches.expect(
    (await successor(world, 'issuing')) === 'published',
    'the rotation went on past the deadline, although only an alert is configured',
  );
  say('the deadline passed with an alert; now it is configured to go on');
  await server.stop();
  await world.configure(issuance, sections('proceed'));
  const next = world.start();
  await next.ready;
  await reaches(world, 'issuing', 'active');
  const record = await lastActivation(world);
  breaches.expect(
    record['without'] === 'deadline' &&
      Array.isArray(record['laggards']) &&
      record['laggards'].includes(agent.credential.spiffeId),
    `the record of the step past the deadline says ${JSON.stringify(record)}`,
  );
  await next.stop();
  return seconds(startedMs);
}

const ttl = 90;
/** All steps before the alert must be done by then, while the rest of the drill runs beside them. */
const aheadSeconds = 45;
const issuance = livesOf(ttl);

const sections = (onDeadline: 'alert' | 'proceed'): object => ({
  authorities: { issuing: { lifeDays: 1 } },
  rotation: {
    automatic: false,
    retireMarginSeconds: 1,
    jwksCacheSeconds: 1,
    onDeadline,
    marginSeconds: 86_400 - ttl - aheadSeconds,
  },
});

const alerted = (world: World, code: 'DEADLINE_NEAR' | 'DEADLINE_PASSED'): Promise<void> =>
  until(
    async () =>
      (await world.calls.admin('Authorities/GetRotationStatus'))['notes'].some(
        (note: any) => note.code === code && note.alert === true,
      ),
    `the alert ${code}`,
    patienceMs + aheadSeconds * 1000,
  );

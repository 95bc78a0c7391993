import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs, until } from '../test/support/until.ts';
import type { Breaches, DrillContext } from './drill.ts';
import { round } from './drill.ts';
import { Load } from './load.ts';
import { RecordCheck } from './record.ts';
import type { ServerProcess } from './server-child.ts';
import type { World } from './world.ts';
import { trustDomain } from './world.ts';

export interface KillFigures {
  readonly server: number;
  readonly signer: number;
  /** How often the victim died at each step; `random` is an instant of the clock. */
  readonly at: Readonly<Record<string, number>>;
  readonly received: number;
  readonly comparisons: number;
  readonly issued: number;
  readonly abandoned: number;
  readonly slowestRestartSeconds: number;
  readonly slowestSignerSeconds: number;
  readonly answers: Readonly<Record<string, number>>;
}

const steps = [
  'prepared',
  'commit-durable',
  'intents-durable',
  'signed',
  'recorded',
  'random',
] as const;

/**
 * kill -9 between any two steps of issuance and at random instants, under load; after each, the
 * record against what callers hold.
 */
export async function drillKills(
  world: World,
  { short, options, say, signal }: DrillContext,
  breaches: Breaches,
): Promise<KillFigures> {
  const rounds = roundsOf(options, short);
  let server = await started(world);
  await world.calls.learnRoots();
  const load = await mixedLoad(world, breaches);
  const record = new RecordCheck(world.databasePath, breaches);
  const at: Record<string, number> = {};
  const kills = { server: 0, signer: 0 };
  let [slowestRestart, slowestSigner] = [0, 0];
  load.start();
  try {
    for (let turn = 0; turn < rounds; turn += 1) {
      signal.throwIfAborted();
      const victim = turn % 2 === 0 ? 'server' : 'signer';
      const step = steps[Math.floor(turn / 2) % steps.length] as (typeof steps)[number];
      await progress(load, performance.now(), `before kill ${turn + 1}`);
      const killedMs = await killOne(server, victim, step);
      at[`${victim}/${step}`] = (at[`${victim}/${step}`] ?? 0) + 1;
      kills[victim] += 1;
      if (victim === 'signer') {
        const servedMs = await progress(load, killedMs, `after a signer was killed at ${step}`);
        slowestSigner = Math.max(slowestSigner, servedMs - killedMs);
        record.check([...load.received.values()], `signer killed at ${step}`);
        continue;
      }
      breaches.expect(await server.childrenGone(), 'a signer outlived its server');
      const startedMs = Date.now();
      const restartMs = performance.now();
      server = await started(world);
      slowestRestart = Math.max(slowestRestart, performance.now() - restartMs);
      record.check([...load.received.values()], `server killed at ${step}`, startedMs);
      if ((turn + 2) % 20 === 0)
        say(
          `kills: ${turn + 1} of ${rounds}, ${load.received.size} certificates received, ` +
            `${record.abandoned.size} abandoned`,
        );
    }
    await progress(load, performance.now(), 'at the end');
  } finally {
    await load.stop();
  }
  const { issued, abandoned } = record.check([...load.received.values()], 'at the end');
  await checkListed(world, record, breaches);
  await server.stop();
  return {
    ...kills,
    at,
    received: load.received.size,
    comparisons: record.comparisons,
    issued,
    abandoned,
    slowestRestartSeconds: round(slowestRestart / 1000),
    slowestSignerSeconds: round(slowestSigner / 1000),
    answers: Object.fromEntries(load.refused),
  };
}

async function started(world: World): Promise<ServerProcess> {
  const server = world.start();
  await server.ready;
  return server;
}

function roundsOf(options: DrillContext['options'], short: boolean): number {
  const rounds = Number(options['kills'] ?? (short ? 24 : 300));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--kills wants a whole number');
  return rounds;
}

/** Callers on all three ways to a signature. */
export async function mixedLoad(
  world: World,
  breaches: Breaches,
  options: { readonly allowed?: ReadonlySet<string> } = {},
): Promise<Load> {
  const { calls } = world;
  const load = new Load({ calls, breaches, ...options });
  await load.prepare();
  for (const name of ['one', 'two']) load.addMinter(name);
  const suffix = randomInt(2 ** 32).toString(16);
  for (const name of ['one', 'two']) {
    const agent = await calls.joinAgent(`load-${name}-${suffix}`);
    const entry = {
      id: `load-${name}-${suffix}`,
      spiffeId: `spiffe://${trustDomain}/load/${name}-${suffix}`,
    };
    await createEntry(world, entry, agent.spiffeId);
    load.addAgent(name, agent, entry, 5);
  }
  const controlPlane = `spiffe://${trustDomain}/control-plane-${suffix}`;
  await calls.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: controlPlane,
      patterns: [`spiffe://${trustDomain}/delegated/*`],
      maxTtlSeconds: 3600,
    },
  });
  load.addDelegate(
    'control plane',
    await calls.mint(controlPlane),
    `spiffe://${trustDomain}/delegated/service`,
  );
  return load;
}

export async function createEntry(
  world: World,
  entry: { readonly id: string; readonly spiffeId: string },
  parentId: string,
): Promise<void> {
  const { results } = await world.calls.admin('Entries/CreateEntries', {
    entries: [{ ...entry, parentId, selectors: ['unix:uid:0'] }],
  });
  const problem = (results as { problem?: { code: string; message: string } }[])[0]?.problem;
  if (problem) throw new Error(`the entry was refused: ${problem.code} ${problem.message}`);
}

/** Waits for a certificate whose request was sent after `sinceMs`; returns when it was received. */
export async function progress(load: Load, sinceMs: number, what: string): Promise<number> {
  const endMs = performance.now() + patienceMs;
  while (load.lastServedSentMs <= sinceMs) {
    if (performance.now() > endMs)
      throw new Error(
        `${what}: no certificate within ${patienceMs} ms; answers: ${JSON.stringify(Object.fromEntries(load.refused))}`,
      );
    await sleep(2);
  }
  return load.lastReceivedMs;
}

/** Kills and returns when it was noticed, monotonic ms. */
async function killOne(
  server: ServerProcess,
  victim: 'server' | 'signer',
  step: string,
): Promise<number> {
  if (step === 'random') {
    await sleep(randomInt(1, 200));
    const [pid] = victim === 'server' ? [server.pid] : await server.signerPids();
    // before the kill: an answer may still be on its way after it
    const killedMs = performance.now();
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    if (victim === 'server') await within(server.exited, 'the server ends');
    return killedMs;
  }
  const before = server.signerKills.length;
  server.arm({ step, after: randomInt(1, 25), victim });
  if (victim === 'server') {
    await within(server.exited, `the server reaches ${step}`);
    return performance.now();
  }
  await until(() => server.signerKills.length > before, `the server reaches ${step}`);
  return performance.now();
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      promise,
      sleep(patienceMs, undefined, { signal: timer.signal }).then(() =>
        Promise.reject(new Error(`not within ${patienceMs} ms: ${what}`)),
      ),
    ]);
  } finally {
    timer.abort();
  }
}

/** What operators are shown is what the record says. */
async function checkListed(world: World, record: RecordCheck, breaches: Breaches): Promise<void> {
  const listed = new Map<string, number>();
  let token = '';
  do {
    const page = await world.calls.admin('Certificates/ListCertificates', {
      page: { size: 500, token },
      filter: { state: 'abandoned' },
    });
    for (const { serial, notAfter } of page['certificates'] as {
      serial: string;
      notAfter: number | string;
    }[])
      listed.set(serial, Number(notAfter));
    token = page['nextPageToken'] as string;
  } while (token !== '');
  breaches.expect(
    [...record.abandoned].every((serial) => listed.has(serial)),
    'an abandoned certificate is not listed',
  );
  // none is under way any more, and every abandoned one counts as possibly live until its end; in a
  // drill that takes long, the first ones have ended
  const live = (): number => {
    const now = Math.floor(Date.now() / 1000);
    return [...listed.values()].filter((notAfter) => notAfter >= now).length;
  };
  const most = live();
  const { unfinishedIntents } = await world.calls.admin('Server/GetStatus');
  const counted = Number(unfinishedIntents);
  breaches.expect(
    counted <= most && counted >= live(),
    `the status counts ${counted} unfinished intents, on record are ${most} that have not ended`,
  );
}

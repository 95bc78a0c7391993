import { randomInt } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs, until } from '../test/support/until.ts';
import { mixedLoad, progress } from './crash-kills.ts';
import { Breaches, round, type Drill } from './drill.ts';
import type { Load } from './load.ts';
import { RecordCheck } from './record.ts';
import { childrenOf, stateOf, type ServerProcess } from './server-child.ts';
import { createWorld, type World } from './world.ts';

interface Case {
  readonly name: string;
  /** Does it, and returns the instant (monotonic ms) from which signing has to resume. */
  readonly act: (world: World, server: ServerProcess, turn: number, load: Load) => Promise<number>;
}

export interface CaseFigures {
  /**
   * From the end of the fault to the first certificate whose request was sent after it; the slowest
   * of the rounds.
   */
  readonly resumedSeconds: number;
  /** Until all signers were back; the slowest. */
  readonly allSignersSeconds: number;
  readonly rounds: number;
  readonly certificates: number;
  readonly unavailable: number;
}

const promisedSeconds = 5;
/** The server lives and is reachable throughout, so that only the token may be missing. */
const allowed = new Set(['HSM_UNAVAILABLE', 'OVERLOADED']);

const now = (): number => performance.now();

const cases: readonly Case[] = [
  {
    name: 'tokenAway',
    act: async ({ tokens }, _server, turn, load) => {
      const answered = countOf(load);
      await rename(tokens.tokenDir, `${tokens.tokenDir}.away`);
      try {
        await sleep([900, 3_000, 300, 6_000][turn % 4]);
        // calls are made, and answered, while it is away
        await until(() => countOf(load) > answered, 'a call is refused while the token is away');
      } finally {
        await rename(`${tokens.tokenDir}.away`, tokens.tokenDir);
      }
      return now();
    },
  },
  {
    name: 'sessionsInvalidated',
    act: async (_world, server) => {
      server.invalidateSessions();
      return Promise.resolve(now());
    },
  },
  { name: 'signerStopped', act: (_world, server) => signalSigners(server, 'SIGSTOP', 1) },
  { name: 'allSignersStopped', act: (_world, server) => signalSigners(server, 'SIGSTOP') },
  { name: 'signerKilled', act: (_world, server) => signalSigners(server, 'SIGKILL', 1) },
  { name: 'signersKilledAtLogin', act: killAtLogin },
  { name: 'allSignersKilled', act: (_world, server) => signalSigners(server, 'SIGKILL') },
];

async function signalSigners(
  server: ServerProcess,
  signal: 'SIGSTOP' | 'SIGKILL',
  count = Infinity,
): Promise<number> {
  const pids = await server.signerPids();
  const startMs = now();
  for (const pid of pids.slice(0, count)) process.kill(pid, signal);
  return startMs;
}

/**
 * Signers that are killed as they start, around their login. SoftHSM writes its token anew at each
 * login, so that this is where a token, and with it every key of the CA, can be lost.
 */
async function killAtLogin(_world: World, server: ServerProcess): Promise<number> {
  const seen = new Set(childrenOf(server.pid));
  for (const pid of await server.signerPids()) process.kill(pid, 'SIGKILL');
  const endMs = now() + 2_500;
  const pending: Promise<void>[] = [];
  while (now() < endMs) {
    for (const pid of childrenOf(server.pid)) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      pending.push(
        sleep(randomInt(80, 200)).then(() => {
          // a child that has ended by itself meanwhile is still the server's to reap or gone
          if (childrenOf(server.pid).includes(pid)) process.kill(pid, 'SIGKILL');
        }),
      );
    }
    await sleep(5);
  }
  await Promise.all(pending);
  return now();
}

/**
 * The token goes and comes, the signers stop and die, under load from callers that check what they
 * get.
 */
export const hsmLoss: Drill = {
  name: 'hsm-loss',
  promise:
    'signing resumes in under 5 s without a restart of the server; meanwhile UNAVAILABLE, no wrong answer, no crash',
  options: ['--rounds N           of each case (default 5, 1 with --short)'],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const rounds = Number(options['rounds'] ?? (short ? 1 : 5));
    if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds wants a whole number');
    const startedMs = now();
    await using world = await createWorld({ signal, hsm: { deadlineMs: 2_000 } });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    const load = await mixedLoad(world, breaches, { allowed });
    const record = new RecordCheck(world.databasePath, breaches);
    const figures: Record<string, CaseFigures> = {};
    load.start();
    try {
      await progress(load, now(), 'before the first case');
      for (const each of cases) {
        figures[each.name] = await play(each, {
          world,
          server,
          load,
          rounds,
          short,
          signal,
          breaches,
        });
        record.check([...load.received.values()], each.name);
        const { resumedSeconds, allSignersSeconds } = figures[each.name] as CaseFigures;
        say(
          `${each.name}: signing after ${resumedSeconds} s, all signers after ${allSignersSeconds} s`,
        );
      }
    } finally {
      await load.stop();
    }
    breaches.expect(server.alive(), 'the server ended');
    const received = [...load.received.values()];
    record.check(received, 'at the end');
    const how = server.alive() ? await server.stop() : await server.exited;
    breaches.expect(how === 'exit 0', `the server ended with ${how}`);
    return {
      figures: {
        seconds: round((now() - startedMs) / 1000, 1),
        certificates: received.length,
        answers: Object.fromEntries(load.refused),
        cases: figures,
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

interface Play {
  readonly world: World;
  readonly server: ServerProcess;
  readonly load: Load;
  readonly rounds: number;
  readonly short: boolean;
  readonly signal: AbortSignal;
  readonly breaches: Breaches;
}

async function play(
  { name, act }: Case,
  { world, server, load, rounds, short, signal, breaches }: Play,
): Promise<CaseFigures> {
  let [resumed, all] = [0, 0];
  const [certificates, unavailable] = [load.received.size, countOf(load)];
  for (let turn = 0; turn < rounds; turn += 1) {
    signal.throwIfAborted();
    const before = await server.signerPids();
    const overMs = await act(world, server, turn, load);
    resumed = Math.max(resumed, (await progress(load, overMs, name)) - overMs);
    all = Math.max(
      all,
      (await recovered(world, server, name === 'sessionsInvalidated' ? [] : before)) - overMs,
    );
    breaches.expect(server.alive(), `${name}: the server ended`);
    await sleep(100);
  }
  // the tests run this on machines that are slow, loaded or stand still: there it has to resume,
  // and what it waits for is bounded by test/unit/hsm-decisions.test.ts
  if (!short) {
    breaches.expect(
      resumed < promisedSeconds * 1000,
      `${name}: signing resumed after ${round(resumed / 1000)} s`,
    );
    breaches.expect(
      all < 3 * promisedSeconds * 1000,
      `${name}: all signers were back after ${round(all / 1000)} s`,
    );
  }
  return {
    resumedSeconds: round(resumed / 1000),
    allSignersSeconds: round(all / 1000),
    rounds,
    certificates: load.received.size - certificates,
    unavailable: countOf(load) - unavailable,
  };
}

const countOf = (load: Load): number =>
  [...load.refused.values()].reduce((sum, count) => sum + count, 0);

/**
 * When the server says that its HSM is ready again, and each signer that was hurt is alive or
 * replaced.
 */
async function recovered(
  world: World,
  server: ServerProcess,
  before: readonly number[],
): Promise<number> {
  const endMs = now() + patienceMs;
  while (now() < endMs) {
    const { hsmStatus } = await world.calls.admin('Server/GetStatus');
    const pids = await server.signerPids();
    if (
      hsmStatus === 'ready' &&
      pids.length >= before.length &&
      pids.every((pid) => ['R', 'S', 'D'].includes(stateOf(pid)))
    )
      return now();
    await sleep(25);
  }
  throw new Error(`the signers were not back within ${patienceMs / 1000} s`);
}

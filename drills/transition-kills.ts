import { setTimeout as sleep } from 'node:timers/promises';
import type { Armed } from './server-messages.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';
import { MtlsWorkloads } from './mtls-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { drillRivals } from './rotation-rivals.ts';
import { RotationRecord } from './rotation-record.ts';
import { createWorld, livesOf, trustDomain, type World } from './world.ts';

interface Case {
  readonly what: string;
  /** Gives the order, once. */
  readonly order: (world: World) => Promise<unknown>;
  /** The server dies when it has just done this. */
  readonly steps: readonly string[];
}

const made = (kind: string): readonly string[] => [
  `${kind}-recorded`,
  `${kind}-key`,
  ...(kind === 'jwt' ? [] : [`${kind}-certificate`]),
  `${kind}-prepared`,
  `${kind}-published`,
  `${kind}-active`,
];
const rotate =
  (kind: string) =>
  (world: World): Promise<unknown> =>
    world.calls.admin('Authorities/RotateAuthorities', { kind, reason: 'drill' });
const taint =
  (kind: string) =>
  async (world: World): Promise<unknown> => {
    const { authorities } = await world.calls.admin('Authorities/ListAuthorities', {});
    const { id } = (authorities as { id: string; kind: string; state: string }[]).find(
      (each) => each.kind === kind && each.state === 'active',
    ) as { id: string };
    return world.calls.admin('Authorities/TaintAuthority', {
      id,
      reason: 'drill',
      windowSeconds: 2,
    });
  };

const longCases: readonly Case[] = [
  {
    what: 'a JWT key is rotated',
    order: rotate('jwt'),
    steps: [...made('jwt'), 'jwt-old', 'jwt-retired'],
  },
  {
    what: 'an intermediate is rotated',
    order: rotate('issuing'),
    steps: [...made('issuing'), 'issuing-old'],
  },
  {
    what: 'an intermediate is tainted',
    order: taint('issuing'),
    steps: [...made('issuing'), 'issuing-tainted', 'issuing-revoked'],
  },
  {
    what: 'a root is rotated',
    order: rotate('root'),
    steps: [...made('root'), 'root-old', ...made('issuing'), 'issuing-old'],
  },
  {
    what: 'a root is tainted',
    order: taint('root'),
    steps: [
      ...made('root'),
      'root-old',
      ...made('issuing'),
      'issuing-old',
      'root-tainted',
      'issuing-tainted',
      'issuing-revoked',
      'root-revoked',
    ],
  },
];
const shortCases: readonly Case[] = [
  { what: 'a JWT key is rotated', order: rotate('jwt'), steps: ['jwt-active', 'jwt-retired'] },
  {
    what: 'an intermediate is tainted',
    order: taint('issuing'),
    steps: ['issuing-certificate', 'issuing-published', 'issuing-tainted', 'issuing-revoked'],
  },
];
const stepLimitMs = 200_000;

/**
 * The server is killed at each step of rotations of all kinds, under traffic; then a second actor
 * comes between.
 */
export const transitionKills: Drill = {
  name: 'transition-kills',
  promise:
    'a rotation goes on from wherever the server was killed, nothing is done twice, and of two actors one acts',
  options: [
    '--random N           further kills at random commits (default 0 with --short, else 30)',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const random = Number(options['random'] ?? (short ? 0 : 30));
    if (!Number.isInteger(random) || random < 0) throw new Error('--random wants a whole number');
    // During many kills the server lives for moments only. The leaves live longer than all of it, so
    // that no handshake may fail.
    const ttl = short ? 120 : 150;
    await using world = await longLivedWorld(ttl, signal);
    const kills = new Kills(world, breaches, signal);
    await kills.start();
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node');
    await node.join({ port: world.port, lifeSeconds: ttl });
    await world.calls.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: `spiffe://${trustDomain}/workload`,
          parentId: node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        },
      ],
    });
    await using workloads = new MtlsWorkloads({ socketPath: node.socketPath, pauseMs: 250 });
    await workloads.start(short ? 2 : 6, signal);
    const record = new RotationRecord(world, breaches);

    await kills.refusesSecondServer();
    await killAtSteps(short ? shortCases : longCases, { world, kills, record, say });
    await killAtRandom(random, { world, kills, record, say });
    const { handshakes, failed, failures } = workloads.totals();
    breaches.expect(handshakes > 0, 'no handshake took place');
    breaches.expect(failed === 0, `${failed} handshakes failed: ${JSON.stringify(failures)}`);
    await world.calls.learnRoots();
    await world.calls.mint(`spiffe://${trustDomain}/after`);
    const histories = record.checkHistories();
    await kills.stop();
    await record.checkKeys();
    say('a second actor takes the lease at each step of the first');
    const rivals = await drillRivals(breaches, { short, signal });
    return {
      figures: {
        ...kills.figures(),
        authorities: histories.authorities,
        transitions: histories.transitions,
        handshakes,
        failedHandshakes: failed,
        secondServersRefused: kills.refused,
        takeovers: rivals.takeovers,
        writesRefused: rivals.refused,
      },
      broken: breaches.list,
    };
  },
};

const longLivedWorld = (ttl: number, signal: AbortSignal): Promise<World> =>
  createWorld({
    signal,
    signers: 1,
    issuance: livesOf(ttl),
    sections: { rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1 } },
  });

interface KillingParts {
  readonly world: World;
  readonly kills: Kills;
  readonly record: RotationRecord;
  readonly say: DrillContext['say'];
}

async function killAtSteps(
  cases: readonly Case[],
  { world, kills, record, say }: KillingParts,
): Promise<void> {
  for (const { what, order, steps } of cases) {
    say(`${what}: killed at ${steps.join(', ')}`);
    const before = record.authorities();
    for (const [index, step] of steps.entries())
      await kills.at(
        { step, after: 1, victim: 'server' },
        index === 0 ? () => order(world) : undefined,
      );
    await kills.comesToRest();
    record.expectOneOfEach(what, before);
  }
}

async function killAtRandom(
  turns: number,
  { world, kills, record, say }: KillingParts,
): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) {
    const kind = (['jwt', 'issuing', 'root'] as const)[turn % 3] as string;
    const before = record.authorities();
    // the order itself may be lost with the server
    await kills.at(
      { step: 'commit-durable', after: 1 + Math.floor(Math.random() * 25), victim: 'server' },
      () => rotate(kind)(world),
    );
    await kills.comesToRest();
    record.expectOneOfEach(`random kill ${turn}, ${kind}`, before);
    if (turn % 10 === 9) say(`${turn + 1} kills at random commits`);
  }
}

/** Owner of the server while it is killed and started again. */
class Kills {
  count = 0;
  refused = 0;
  /**
   * From a kill to the moment when the server has done the next thing that it is killed at, or has
   * come to rest.
   */
  longestPauseMs = 0;
  longestPauseAt = '';
  readonly #world: World;
  readonly #breaches: Breaches;
  readonly #signal: AbortSignal;
  #server: ReturnType<World['start']> | undefined;
  #killedAtMs = 0;

  constructor(world: World, breaches: Breaches, signal: AbortSignal) {
    this.#world = world;
    this.#breaches = breaches;
    this.#signal = signal;
  }

  async start(): Promise<void> {
    this.#server = this.#world.start();
    await this.#server.ready;
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  figures(): Readonly<Record<string, unknown>> {
    return {
      kills: this.count,
      longestPauseSeconds: round(this.longestPauseMs / 1000, 1),
      longestPauseBefore: this.longestPauseAt,
    };
  }

  /**
   * Dies at that step: of a server that runs, after an order was given; or of one that is started
   * for it, and goes on by itself.
   */
  async at(arm: Armed, order?: () => Promise<unknown>): Promise<void> {
    this.#signal.throwIfAborted();
    let server = this.#server;
    if (server?.alive() === true) server.arm(arm);
    else server = this.#world.start({ arm });
    this.#server = server;
    // it may die before it is ready
    server.ready.catch(() => undefined);
    if (order !== undefined) {
      await server.ready.catch(() => undefined);
      order().catch(() => undefined);
    }
    const gone = new AbortController();
    const how = await Promise.race([
      server.exited,
      sleep(stepLimitMs, 'alive', { signal: gone.signal }),
    ]).finally(() => gone.abort());
    if (how !== 'SIGKILL')
      throw new Error(`the server did not come to ${arm.step}: ${how}; ${await this.#describe()}`);
    this.#breaches.expect(await server.kill(), 'a signer outlived its server');
    this.#passed(arm.step);
    this.#killedAtMs = performance.now();
    this.count += 1;
  }

  /** Starts the server, and waits until nothing is under way, and what was tainted is gone. */
  async comesToRest(): Promise<void> {
    if (this.#server?.alive() !== true) await this.start();
    const endMs = performance.now() + stepLimitMs;
    for (;;) {
      const status = await this.#world.calls.admin('Authorities/GetRotationStatus');
      const orphans = (status['authorities'] as Progress[]).filter(
        ({ authority }, _, all) =>
          authority.kind === 'issuing' &&
          authority.state === 'active' &&
          all.find((each) => each.authority.id === authority.parentId)?.authority.state !==
            'active',
      );
      const tainted = (status['authorities'] as Progress[]).filter(
        ({ authority }) => authority.state === 'tainted',
      );
      if (status['operations'].length === 0 && orphans.length === 0 && tainted.length === 0) break;
      if (performance.now() > endMs)
        throw new Error(`the rotation does not come to its end: ${await this.#describe()}`);
      await sleep(100, undefined, { signal: this.#signal });
    }
    this.#passed('rest');
  }

  /**
   * On the same database: while the first runs, and while it stands still and can't say that it is
   * there.
   */
  async refusesSecondServer(): Promise<void> {
    for (const frozen of [false, true]) {
      if (frozen) process.kill(this.#server?.pid as number, 'SIGSTOP');
      try {
        const second = this.#world.start();
        const said = await second.ready.then(
          () => 'it started',
          (error: Error) => error.message,
        );
        await second.kill();
        this.#breaches.expect(
          said.includes('STORE_LOCKED'),
          'a second server on the same database, the first one ' +
            `${frozen ? 'stopped' : 'running'}: ${said.slice(0, 200)}`,
        );
        this.refused += 1;
      } finally {
        if (frozen) process.kill(this.#server?.pid as number, 'SIGCONT');
      }
    }
  }

  #passed(at: string): void {
    const pauseMs = performance.now() - this.#killedAtMs;
    if (this.#killedAtMs > 0 && pauseMs > this.longestPauseMs)
      [this.longestPauseMs, this.longestPauseAt] = [pauseMs, at];
    this.#killedAtMs = 0;
  }

  async #describe(): Promise<string> {
    const status = await this.#world.calls
      .admin('Authorities/GetRotationStatus')
      .catch((error: Error) => ({ error: error.message }));
    if ('error' in status) return String(status['error']);
    const { authorities, operations, notes, failure } = status as Record<string, any>;
    return JSON.stringify({
      authorities: authorities.map(({ authority, live, liveUnreported, confirmation }: any) => [
        authority.kind,
        authority.state,
        live,
        liveUnreported,
        ...(confirmation?.laggards ?? []).map(
          (each: any) => `${each.agentId} ${each.description} ${each.state}`,
        ),
      ]),
      operations: operations.length,
      notes: notes.map(({ code }: any) => code),
      failure: failure?.code,
    });
  }
}

interface Progress {
  readonly authority: {
    readonly id: string;
    readonly kind: string;
    readonly state: string;
    readonly parentId: string;
  };
}

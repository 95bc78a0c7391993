import { fork, type ChildProcess } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { connect as http2Connect, type ClientHttp2Session } from 'node:http2';
import { connect as tcpConnect } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { treeCpu } from '../bench/cpu.ts';
import { freePort } from '../test/support/ports.ts';
import { until } from '../test/support/until.ts';
import type { AttackOrder, FromAttacker, ToAttacker } from './attack-messages.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { OutageNode } from './outage-node.ts';
import type { ServerProcess } from './server-child.ts';
import { createWorld, trustDomain, type World } from './world.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = fileURLToPath(new URL(`./attacker.${extension}`, import.meta.url));
const stranger = 23_456;
const honestCalls = 3;

/** One line of the table. Processor times, never wall times: a slow machine changes none of it. */
export interface AttackRow {
  readonly attack: string;
  readonly tried: number;
  readonly attackerCpuMs: number;
  readonly attackedCpuMs: number;
  /** What we pay for each unit that the attacker pays. */
  readonly ratio: number;
  /** Attempts of the attacker between the honest caller's question and its answer, the most. */
  readonly honestWaited: number;
}

interface Attack {
  readonly attack: string;
  readonly order: AttackOrder;
  /** The attacked process. */
  readonly pid: number;
  /** The most that we may pay for each unit of the attacker. */
  readonly most: number;
  /** Resolves when an honest caller was answered. */
  honest(): Promise<void>;
}

/** An attacker in a process of its own. */
class Attacker implements Disposable {
  readonly #child: ChildProcess;
  readonly #counts: PromiseWithResolvers<FromAttacker>[] = [];
  readonly #ended = Promise.withResolvers<FromAttacker>();
  readonly #ready = Promise.withResolvers<void>();

  constructor(order: AttackOrder, signal: AbortSignal) {
    this.#child = fork(entry, [JSON.stringify(order)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [],
    });
    this.#child.on('message', (message: FromAttacker) => {
      if (message.type === 'ready') this.#ready.resolve();
      else if (message.type === 'count') this.#counts.shift()?.resolve(message);
      else this.#ended.resolve(message);
    });
    const failed = (): void => {
      const error = new Error(`the attacker ended: ${order.kind}`);
      for (const waiting of [this.#ready, this.#ended, ...this.#counts]) waiting.reject(error);
    };
    this.#child.once('exit', failed);
    this.#ended.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
    signal.addEventListener('abort', () => this.#child.kill('SIGKILL'), { once: true });
  }

  ready(): Promise<void> {
    return this.#ready.promise;
  }

  count(): Promise<FromAttacker> {
    const counted = Promise.withResolvers<FromAttacker>();
    this.#counts.push(counted);
    this.#tell('count');
    return counted.promise;
  }

  stop(): Promise<FromAttacker> {
    this.#tell('stop');
    return this.#ended.promise;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  #tell(message: ToAttacker): void {
    if (this.#child.connected) this.#child.send(message);
  }
}

async function play(
  { attack, order, pid, honest }: Attack,
  cpuMs: number,
  signal: AbortSignal,
): Promise<AttackRow> {
  using attacker = new Attacker(order, signal);
  await attacker.ready();
  const before = treeCpu(pid).mainMs;
  let honestWaited = 0;
  for (let each = 1; each <= honestCalls; each += 1) {
    const share = (cpuMs * each) / honestCalls;
    await until(async () => (await attacker.count()).cpuMs >= share, `${attack}: its attempts`);
    const asked = (await attacker.count()).tried;
    await honest();
    honestWaited = Math.max(honestWaited, (await attacker.count()).tried - asked);
  }
  const end = await attacker.stop();
  const attackedCpuMs = treeCpu(pid).mainMs - before;
  return {
    attack,
    tried: end.tried,
    attackerCpuMs: Math.round(end.cpuMs),
    attackedCpuMs: Math.round(attackedCpuMs),
    ratio: round(attackedCpuMs / end.cpuMs),
    honestWaited,
  };
}

const headers = (path: string): Record<string, string> => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
  'workload.spiffe.io': 'true',
});

/** Resolves with the first bytes of an answer; rejects where there are none. */
async function answered(session: ClientHttp2Session, path: string): Promise<void> {
  session.on('error', () => {});
  try {
    const stream = session.request(headers(path));
    stream.end(Buffer.alloc(5));
    await new Promise<void>((resolve, reject) => {
      stream.once('data', () => resolve());
      stream.once('error', reject);
      stream.once('close', () => reject(new Error(`${path} ended without an answer`)));
    });
  } finally {
    session.destroy();
  }
}

const health = (port: number): Promise<void> =>
  answered(
    http2Connect(`https://127.0.0.1:${port}`, {
      rejectUnauthorized: false,
      servername: 'localhost',
    }),
    '/grpc.health.v1.Health/Check',
  );

/** A workload that tries again while the queue of the socket is full. */
async function svid(path: string): Promise<void> {
  await until(async () => {
    const session = http2Connect('http://localhost', { createConnection: () => tcpConnect(path) });
    return answered(session, '/SpiffeWorkloadAPI/FetchX509SVID').then(
      () => true,
      () => false,
    );
  }, 'an honest workload has its SVID');
}

async function fetched(url: string): Promise<void> {
  await (await fetch(url, { headers: { connection: 'close' } })).arrayBuffer();
}

function table(rows: readonly AttackRow[]): readonly string[] {
  const cells = [
    ['attack', 'tried', 'cost to him', 'cost to us', 'ratio', 'honest caller waited for'],
    ...rows.map((row) => [
      row.attack,
      String(row.tried),
      `${row.attackerCpuMs} ms CPU`,
      `${row.attackedCpuMs} ms CPU`,
      row.ratio.toFixed(2),
      `${row.honestWaited} attempts`,
    ]),
  ];
  const widths = (cells[0] as string[]).map((_, at) =>
    Math.max(...cells.map((row) => (row[at] as string).length)),
  );
  return cells.map((row) => row.map((cell, at) => cell.padEnd(widths[at] as number)).join('  '));
}

interface Attacked {
  readonly world: World;
  readonly server: ServerProcess;
  readonly node: OutageNode;
  readonly httpPort: number;
}

function attacksOn({ world, server, node, httpPort }: Attacked): readonly Attack[] {
  const toServer = (attack: string, kind: AttackOrder['kind'], most: number): Attack => ({
    attack,
    ...{ order: { kind, at: world.port }, pid: server.pid, most },
    honest: () => health(world.port),
  });
  const halves = (attack: string, at: number, path: string): Attack => ({
    attack,
    ...{ order: { kind: 'http-half', at }, pid: server.pid, most: 4 },
    honest: () => fetched(`http://127.0.0.1:${at}${path}`),
  });
  const toAgent = (attack: string, kind: AttackOrder['kind'], most: number): Attack => ({
    attack,
    ...{ order: { kind, at: node.socketPath, uid: stranger }, pid: node.agentPid, most },
    honest: () => svid(node.socketPath),
  });
  return [
    toServer('anonymous Health/Watch streams', 'watch', 6),
    toServer('reflection', 'reflection', 6),
    toServer('large messages without a certificate', 'large-message', 6),
    toServer('TLS handshakes', 'tls-handshake', 6),
    toServer('connections to the gRPC port that say nothing', 'tls-silent', 6),
    halves('half a request to the operations port', world.opsPort, '/live'),
    halves('half a request to the HTTP port', httpPort, '/bundle'),
    toAgent('connections to the agent that say nothing', 'socket-silent', 8),
    toAgent('a process without identity that asks again and again', 'socket-nobody', 6),
  ];
}

function judge(row: AttackRow, most: number, breaches: Breaches): void {
  breaches.expect(
    row.ratio <= most,
    `${row.attack}: it costs us ${row.ratio} times what it costs the attacker, more than ${most}`,
  );
  breaches.expect(
    row.honestWaited < row.tried,
    `${row.attack}: an honest caller waited for the end of the attack`,
  );
}

/** Attacks by strangers and neighbours, each in a process of its own, on a server and an agent. */
export const attacks: Drill = {
  name: 'attacks',
  promise:
    'a stranger or neighbour pays for an attack, and honest callers are answered before it ends',
  options: [
    '--cpu MS             processor time of each attacker (default 300 with --short, else 3000)',
  ],
  run: async ({ short, options, say, signal }) => {
    const breaches = new Breaches();
    const cpuMs = Number(options['cpu'] ?? (short ? 300 : 3_000));
    if (!(cpuMs > 0)) throw new Error('--cpu wants a number');
    const httpPort = await freePort();
    await using world = await createWorld({
      sections: { http: { plain: { enabled: true, port: httpPort } } },
      signal,
    });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-1');
    await node.join({ port: world.port, lifeSeconds: 3_600 });
    // the attacker is another user
    for (const folder of [world.dir, dirname(node.socketPath)]) await chmod(folder, 0o711);
    await world.calls.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: `spiffe://${trustDomain}/honest`,
          parentId: node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        },
      ],
    });
    const rows: AttackRow[] = [];
    for (const each of attacksOn({ world, server, node, httpPort })) {
      say(each.attack);
      const row = await play(each, cpuMs, signal);
      rows.push(row);
      judge(row, each.most, breaches);
      breaches.expect(server.alive() && node.agentAlive(), `${row.attack}: a process has ended`);
    }
    for (const line of table(rows)) say(line);
    return { figures: { rows }, broken: breaches.list };
  },
};

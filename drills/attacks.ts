import { chmod } from 'node:fs/promises';
import { connect as http2Connect, type ClientHttp2Session } from 'node:http2';
import { connect as tcpConnect } from 'node:net';
import { dirname } from 'node:path';
import { freePort } from '../test/support/ports.ts';
import { until } from '../test/support/until.ts';
import type { AttackOrder } from './attack-messages.ts';
import { judge, play, type Attack, type AttackRow } from './attack-play.ts';
import { Breaches, type Drill } from './drill.ts';
import { OutageNode } from './outage-node.ts';
import type { ServerProcess } from './server-child.ts';
import { createWorld, trustDomain, type World } from './world.ts';

const stranger = 23_456;

const headers = (path: string): Record<string, string> => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
  'workload.spiffe.io': 'true',
});

/** Resolves with the first bytes of an answer; rejects where there are none. */
async function answered(
  session: ClientHttp2Session,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  session.on('error', () => {});
  signal.addEventListener('abort', () => session.destroy(), { once: true });
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

const health = (port: number, signal: AbortSignal): Promise<void> =>
  answered(
    http2Connect(`https://127.0.0.1:${port}`, {
      rejectUnauthorized: false,
      servername: 'localhost',
    }),
    '/grpc.health.v1.Health/Check',
    signal,
  );

/** A workload that tries again while the queue of the socket is full. */
async function svid(path: string, signal: AbortSignal): Promise<void> {
  await until(async () => {
    signal.throwIfAborted();
    const session = http2Connect('http://localhost', { createConnection: () => tcpConnect(path) });
    return answered(session, '/SpiffeWorkloadAPI/FetchX509SVID', signal).then(
      () => true,
      () => false,
    );
  }, 'an honest workload has its SVID');
}

async function fetched(url: string, signal: AbortSignal): Promise<void> {
  await (await fetch(url, { headers: { connection: 'close' }, signal })).arrayBuffer();
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
      `${row.honestWaited} attempts, ${row.honestWaitedCpuMs} ms CPU`,
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
    honest: (signal) => health(world.port, signal),
  });
  const halves = (attack: string, at: number, path: string): Attack => ({
    attack,
    ...{ order: { kind: 'http-half', at }, pid: server.pid, most: 4 },
    honest: (signal) => fetched(`http://127.0.0.1:${at}${path}`, signal),
  });
  const toAgent = (attack: string, kind: AttackOrder['kind'], most: number): Attack => ({
    attack,
    ...{ order: { kind, at: node.socketPath, uid: stranger }, pid: node.agentPid, most },
    honest: (signal) => svid(node.socketPath, signal),
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
      const row = await play(each, { cpuMs, signal });
      rows.push(row);
      judge(row, each.most, breaches);
      breaches.expect(server.alive() && node.agentAlive(), `${row.attack}: a process has ended`);
      // who gets no answer waited to the end of patience: no further attack has time for that
      if (row.unanswered !== null) break;
    }
    for (const line of table(rows)) say(line);
    return { figures: { rows }, broken: breaches.list };
  },
};

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as http2Connect, type ClientHttp2Session } from 'node:http2';
import { connect as tcpConnect, type Socket } from 'node:net';
import { test } from 'node:test';
import { silentMetrics } from '../../sidecar/local-server/index.ts';
import { speak, startHarness } from '../integration/sidecar/local-server/support.ts';
import { entryOf } from '../support/local-server-fakes.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';

/** One line of the table: counts, never times. */
interface Row {
  readonly attack: string;
  /** What the attacker did. */
  readonly tried: number;
  /** What of it we held, or worked on, while an honest caller was answered. */
  readonly held: number;
  /** The most that it may be. */
  readonly most: number;
  /** Callers who were answered while the attack went on, of those that asked. */
  readonly honest: readonly [answered: number, asked: number];
}

const limits = { handshakes: 8, handshakeSeconds: 600, streamsPerConnection: 64 };

const open = (port: number): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = tcpConnect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => {});
    socket.resume();
  });

function session(server: TestServer): ClientHttp2Session {
  const opened = http2Connect(`https://127.0.0.1:${server.server.port}`, {
    rejectUnauthorized: false,
    servername: 'localhost',
  });
  opened.on('error', () => {});
  return opened;
}

const headers = (path: string): Record<string, string> => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
});

/** An honest stranger: a node that asks for health before it joins. */
async function healthy(server: TestServer): Promise<boolean> {
  const own = session(server);
  try {
    const check = own.request(headers('/grpc.health.v1.Health/Check'));
    check.on('error', () => {});
    check.end(Buffer.alloc(5));
    check.resume();
    const [trailers] = (await once(check, 'trailers')) as [Record<string, string>];
    return trailers['grpc-status'] === '0';
  } finally {
    own.destroy();
  }
}

async function watchStreams(server: TestServer): Promise<Row> {
  const strangers = Array.from({ length: 20 }, () => session(server));
  let held = 0;
  for (const stranger of strangers)
    for (let each = 0; each < 64; each += 1) {
      const stream = stranger.request(headers('/grpc.health.v1.Health/Watch'));
      held += 1;
      stream.on('error', () => {});
      stream.on('close', () => (held -= 1));
      stream.end(Buffer.alloc(5));
      stream.resume();
    }
  await until(() => held <= 256, 'the streams beyond the limit have ended');
  const answered = Number(await healthy(server));
  const row: Row = {
    attack: 'anonymous Health/Watch streams',
    ...{ tried: 20 * 64, held, most: 256, honest: [answered, 1] },
  };
  for (const stranger of strangers) stranger.destroy();
  return row;
}

async function silentHandshakes(server: TestServer): Promise<Row> {
  const sockets: Socket[] = [];
  for (let each = 0; each < 60; each += 1) sockets.push(await open(server.server.port));
  const living = (): number => sockets.filter(({ closed }) => !closed).length;
  await until(() => living() <= limits.handshakes, 'the oldest have ended');
  const answered = Number(await healthy(server));
  const row: Row = {
    attack: 'TLS handshakes that never begin',
    ...{ tried: 60, held: living(), most: limits.handshakes, honest: [answered, 1] },
  };
  for (const socket of sockets) socket.destroy();
  return row;
}

async function halfRequests(server: TestServer): Promise<Row> {
  const sockets: Socket[] = [];
  for (let each = 0; each < 300; each += 1) {
    const socket = await open(server.server.opsPort);
    socket.write('GET /ready HTTP/1.1\r\n');
    sockets.push(socket);
  }
  const living = (): number => sockets.filter(({ closed }) => !closed).length;
  await until(() => living() <= 256, 'the oldest have ended');
  const response = await fetch(`http://127.0.0.1:${server.server.opsPort}/live`);
  const row: Row = {
    attack: 'half a request to the operations port',
    ...{ tried: 300, held: living(), most: 256, honest: [Number(response.ok), 1] },
  };
  for (const socket of sockets) socket.destroy();
  return row;
}

const unidentified = {
  perImage: { perSecond: 0.001, burst: 20 },
  perGroup: { perSecond: 0.001, burst: 1000 },
};

async function silentWorkloads(): Promise<Row> {
  let evicted = 0;
  const metrics = { ...silentMetrics, connectionRefused: () => void (evicted += 1) };
  const bounds = { connectionsPerUid: 16 };
  await using harness = await startHarness({ api: { metrics, limits: bounds } });
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const [greedy, honest] = [await harness.actor(), await harness.actor()];
  for (let each = 0; each < 60; each += 1) await greedy.connect(harness.path);
  await until(() => evicted === 60 - 16, 'the oldest have ended');
  const { state } = speak(await honest.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  return {
    attack: 'connections of a workload that say nothing, same user',
    ...{ tried: 60, held: harness.api.connections() - 1, most: 16, honest: [1, 1] },
  };
}

async function nobodies(): Promise<Row> {
  let away = 0;
  const metrics = { ...silentMetrics, connectionRefused: () => void (away += 1) };
  await using harness = await startHarness({ api: { metrics, limits: { unidentified } } });
  harness.entries.set(entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
  const [greedy, honest] = [await harness.actor(), await harness.actor()];
  await honest.become(23_456);
  let attested = 0;
  let answered = 0;
  for (let each = 0; each < 60; each += 1) {
    const { state } = speak(await greedy.connect(harness.path)).fetchX509Svid();
    await until(() => state.closed);
    if (state.code === 'NO_IDENTITY') attested += 1;
    if (each % 20 !== 19) continue;
    const served = speak(await honest.connect(harness.path)).fetchX509Svid();
    await until(() => served.state.messages.length === 1);
    answered += 1;
  }
  assert.equal(attested + away, 60);
  return {
    attack: 'a process without identity that asks again and again',
    ...{ tried: 60, held: attested, most: 20, honest: [answered, 3] },
  };
}

function printed(rows: readonly Row[]): readonly string[] {
  const cells = [
    ['attack', 'tried', 'held', 'at most', 'honest callers answered'],
    ...rows.map(({ attack, tried, held, most, honest }) => [
      attack,
      ...[tried, held, most].map(String),
      honest.join(' of '),
    ]),
  ];
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...cells.map((row) => (row[column] as string).length)),
  );
  return cells.map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column] as number)).join('  '),
  );
}

test('the table of attacks: what is held of each is bounded, and honest callers are answered meanwhile', async (context) => {
  await using server = await startTestServer({ config: { limits } });
  const rows = [
    await watchStreams(server),
    await silentHandshakes(server),
    await halfRequests(server),
    await silentWorkloads(),
    await nobodies(),
  ];
  for (const line of printed(rows)) context.diagnostic(line);
  for (const { attack, tried, held, most, honest } of rows) {
    assert.ok(held <= most && most < tried, `${attack}: ${held} of ${tried}`);
    assert.equal(honest[0], honest[1], attack);
  }
});

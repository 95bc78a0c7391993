import { connect as http2Connect, type ClientHttp2Session } from 'node:http2';
import { connect as tcpConnect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { nextTurn } from '../test/support/until.ts';
import type { AttackKind, AttackOrder, FromAttacker, ToAttacker } from './attack-messages.ts';

// One attacker of the drill `attacks`: makes one attempt after the other until it is told to stop,
// and counts them and its own processor time. Ends with its IPC channel.
//
//   node attacker.js ORDER_AS_JSON

const order = JSON.parse(process.argv[2] as string) as AttackOrder;
const streamsPerSession = 64;
/** So many connections that it holds half-open: the server ends the older ones. */
const heldSockets = 400;
const largeMessageBytes = 256 * 1024;
/**
 * How long an attempt may take; then its connection is given up. Node's HTTP/2 client over TLS does
 * not notice a reset of the connection that meets it while it writes: the session stays open, and
 * neither it nor its streams ever end.
 */
const attemptMs = 2_000;

const held: Socket[] = [];
let session: ClientHttp2Session | undefined;
let streamsOfSession = 0;
let tried = 0;
let begun = process.cpuUsage();

const reached = (): FromAttacker['cpuMs'] => {
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1000;
};

const plain = (): Socket => {
  const socket =
    typeof order.at === 'number' ? tcpConnect(order.at, '127.0.0.1') : tcpConnect(order.at);
  socket.on('error', () => {});
  socket.resume();
  return socket;
};

/** Resolves when the attempt is done; what it uses is destroyed when its time is over. */
async function bounded<T>(used: { destroy(): unknown }, done: Promise<T>): Promise<T> {
  const limit = setTimeout(() => used.destroy(), attemptMs);
  try {
    return await done;
  } finally {
    clearTimeout(limit);
  }
}

/**
 * A connection that stays as it is; the oldest that this attacker has gives way. False: the queue of
 * the listener was full.
 */
async function holdOpen(first = ''): Promise<boolean> {
  const socket = plain();
  const connected = await bounded(
    socket,
    new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true));
      socket.on('close', () => resolve(false));
    }),
  );
  if (!connected) return false;
  if (first !== '') socket.write(first);
  held.push(socket);
  if (held.length > heldSockets) held.shift()?.destroy();
  return true;
}

const headers = (path: string): Record<string, string> => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
  'workload.spiffe.io': 'true',
});

/** A session with the server, or with the agent's socket; another one once this is used up. */
function sessionFor(): ClientHttp2Session {
  if (session === undefined || session.destroyed || session.closed) {
    session =
      typeof order.at === 'number'
        ? http2Connect(`https://127.0.0.1:${order.at}`, {
            rejectUnauthorized: false,
            servername: 'localhost',
          })
        : http2Connect('http://localhost', { createConnection: plain });
    session.setMaxListeners(0);
    session.on('error', () => {});
    streamsOfSession = 0;
  }
  const present = session;
  streamsOfSession += 1;
  if (streamsOfSession >= streamsPerSession) session = undefined;
  return present;
}

/** One call; `whole`: until its end, else until it was sent. */
async function call(path: string, message: Buffer, whole: boolean): Promise<boolean> {
  const present = sessionFor();
  const stream = present.request(headers(path));
  const over = new Promise<void>((resolve) => {
    stream.on('close', () => resolve());
    present.on('close', () => resolve());
  });
  stream.on('error', () => {});
  stream.resume();
  const sent = new Promise<void>((resolve) => void stream.end(message, () => resolve()));
  await bounded(present, whole ? over : Promise.race([sent, over]));
  return true;
}

const framed = (message: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

async function handshake(): Promise<boolean> {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port: order.at as number,
    rejectUnauthorized: false,
    servername: 'localhost',
    ALPNProtocols: ['h2'],
  });
  socket.on('error', () => {});
  await bounded(
    socket,
    new Promise<void>((resolve) => {
      socket.on('secureConnect', resolve);
      socket.on('close', () => resolve());
    }),
  );
  socket.destroy();
  return true;
}

const listServices = framed(Buffer.from([0x3a, 0x00]));
const large = framed(Buffer.alloc(largeMessageBytes));

const attempts: Readonly<Record<AttackKind, () => Promise<boolean>>> = {
  watch: () => call('/grpc.health.v1.Health/Watch', framed(Buffer.alloc(0)), false),
  'tls-silent': () => holdOpen(),
  'tls-handshake': handshake,
  'http-half': () => holdOpen('GET /ready HTTP/1.1\r\n'),
  reflection: () =>
    call('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', listServices, true),
  'large-message': () => call('/meshca.issuer.v1.NodeAttestation/Attest', large, true),
  'socket-silent': () => holdOpen(),
  'socket-nobody': () => call('/SpiffeWorkloadAPI/FetchX509SVID', framed(Buffer.alloc(0)), true),
};

const tell = (type: FromAttacker['type']): void => {
  if (process.connected) process.send?.({ type, tried, cpuMs: reached() } satisfies FromAttacker);
};

process.on('disconnect', () => process.exit());
process.on('message', (message: ToAttacker) => {
  if (message === 'count') {
    tell('count');
    return;
  }
  // not after the attempt that is under way: the end is told even if that attempt never ends
  tell('end');
  process.disconnect();
});
if (order.uid !== undefined) {
  process.setgroups?.([]);
  process.setgid?.(order.uid);
  process.setuid?.(order.uid);
}
begun = process.cpuUsage();
tell('ready');
for (let each = 1; process.connected; each += 1) {
  if (await attempts[order.kind]()) tried += 1;
  // orders are read between the attempts
  if (each % 16 === 0) await nextTurn();
}

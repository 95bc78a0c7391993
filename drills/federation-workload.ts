import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import {
  authorizeAny,
  connectTls,
  createTlsServer,
  JwtSource,
  peerOf,
  X509Source,
} from '../src/workload/index.ts';

// A workload that trusts foreign trust domains. It connects to workloads of all of them all the time,
// each time anew, in mTLS and with a JWT-SVID, which the other side validates. It tells what it sees.
//
//   node federation-workload.js AGENT_SOCKET PAUSE_MS FOREIGN_TRUST_DOMAIN,…

export interface TrafficCount {
  readonly succeeded: number;
  readonly failed: number;
}
export type FromWorkload =
  | { readonly type: 'listening'; readonly port: number }
  | {
      readonly type: 'traffic';
      readonly number: number;
      readonly own: TrafficCount;
      readonly foreign: TrafficCount;
      readonly failures: Readonly<Record<string, number>>;
      /** Roots that it has, by trust domain, of those whose tokens it can validate as well. */
      readonly roots: Readonly<Record<string, number>>;
      /** Of its certificate. */
      readonly serial: string;
    };
export type ToWorkload =
  | { readonly type: 'peers'; readonly own: readonly number[]; readonly foreign: readonly number[] }
  | { readonly type: 'report'; readonly number: number };

const [, , socketPath, pause, foreignDomains] = process.argv as [
  string,
  string,
  string,
  string,
  string,
];
const audience = 'drill';
const waitMs = 120_000;
const tell = (message: FromWorkload): void => {
  if (process.connected) process.send?.(message);
};
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);

const counts = {
  own: { succeeded: 0, failed: 0 },
  foreign: { succeeded: 0, failed: 0 },
};
const failures: Record<string, number> = {};
let peers: Extract<ToWorkload, { type: 'peers' }> = { type: 'peers', own: [], foreign: [] };

const source = await X509Source.connect({ socketPath, waitMs });
const tokens = await JwtSource.connect({ socketPath, waitMs });
const roots = (): Readonly<Record<string, number>> =>
  Object.fromEntries(
    tokens.trustDomains.map((name) => [name, source.bundles.get(name)?.length ?? 0] as const),
  );
while (foreignDomains.split(',').some((name) => (roots()[name] ?? 0) === 0)) await sleep(50);

process.on('message', (message: ToWorkload) => {
  if (message.type === 'peers') peers = message;
  else
    tell({
      ...{ type: 'traffic', number: message.number, ...counts, failures },
      ...{ roots: roots(), serial: source.svid.serial },
    });
});

const server = createTlsServer(
  source,
  { authorize: authorizeAny(), handshakeTimeoutMs: waitMs },
  (socket) => void answer(socket).catch(() => socket.destroy()),
);
server.listen(0, '127.0.0.1', () =>
  tell({ type: 'listening', port: (server.address() as AddressInfo).port }),
);

/** Says who the caller is, by its token; the token must be of the identity in its certificate. */
async function answer(socket: TLSSocket): Promise<void> {
  const { id } = await tokens.validate(await lineOf(socket), audience);
  if (!id.equals(peerOf(socket)?.id ?? source.svid.id)) throw new Error('a token of another');
  socket.end('welcome\n');
}

/** Up to the first line break. */
function lineOf(socket: TLSSocket): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
  });
}

async function visit(port: number): Promise<void> {
  const { token } = await tokens.fetch(audience);
  const socket = await connectTls(source, {
    ...{ host: '127.0.0.1', port, timeoutMs: waitMs },
    expect: authorizeAny(),
  });
  try {
    socket.write(`${token}\n`);
    const said = await lineOf(socket);
    if (said !== 'welcome') throw new Error(said);
  } finally {
    socket.destroy();
  }
}

for (;;) {
  await sleep(Number(pause) * (0.5 + Math.random()));
  const side = Math.random() < 0.5 ? 'own' : 'foreign';
  const port = peers[side][Math.floor(Math.random() * peers[side].length)];
  if (port === undefined) continue;
  try {
    await visit(port);
    counts[side].succeeded += 1;
  } catch (thrown) {
    counts[side].failed += 1;
    const { code = '', message } = thrown as { readonly code?: string; readonly message: string };
    const text = `${side}: ${code} ${message}`.slice(0, 200);
    failures[text] = (failures[text] ?? 0) + 1;
  }
}

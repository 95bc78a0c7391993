import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { argv, exit } from 'node:process';
import type { Agent } from 'node:https';
import type { AddressInfo } from 'node:net';
import {
  authorizeId,
  createHttpsServer,
  httpsAgent,
  peerOf,
  PkiError,
  X509Source,
} from '../src/workload/index.ts';
import type { WorkloadReport } from './model.ts';

// A workload of the demonstration. It knows the agent's socket and its peer; it gets its own
// identity from the agent.
//
//   node workload.js greeter AGENT_SOCKET ID_OF_CALLER
//   node workload.js caller AGENT_SOCKET ID_OF_GREETER PORT
const [, , role, socketPath, peer, port] = argv as [
  string,
  string,
  'greeter' | 'caller',
  string,
  string,
  string | undefined,
];

const tell = (report: WorkloadReport): void => {
  if (process.connected) process.send?.(report);
};
// the workload of a killed demonstration ends by itself
process.on('disconnect', () => exit(0));
process.on('SIGTERM', () => {
  // the caller finishes its request first, since an aborted handshake would count as failed on the
  // other side
  if (role === 'greeter' || !calling) exit(0);
  stopping = true;
});
// Ctrl-C reaches a whole terminal group: the parent ends its children in order
process.on('SIGINT', () => undefined);

const pauseMs = 40;
/**
 * After this many requests comes one on a new connection, so that each new certificate is used in a
 * handshake.
 */
const freshEvery = 4;

let calling = false;
let stopping = false;
let requests = 0;
let failedRequests = 0;
let lastFailure: string | undefined;

try {
  const source = await X509Source.connect({ socketPath, waitMs: 30_000 });
  tellIdentity(source, false);
  let serial = source.svid.serial;
  source.onUpdate((svid) => {
    if (svid.serial === serial) return;
    serial = svid.serial;
    tellIdentity(source, true);
  });
  setInterval(() => tellTraffic(source), 250);
  if (role === 'greeter') greet(source);
  else await call(source, Number(port));
} catch (thrown) {
  const error = PkiError.from(thrown);
  tell({ type: 'problem', code: error.code, message: error.message });
  exit(1);
}

function greet(source: X509Source): void {
  const server = createHttpsServer(
    source,
    { authorize: authorizeId(peer) },
    (incoming, response) => {
      requests += 1;
      response.end(`hello ${peerOf(incoming.socket)?.id}\n`);
    },
  );
  server.listen(0, '127.0.0.1', () =>
    tell({ type: 'listening', port: (server.address() as AddressInfo).port }),
  );
}

async function call(source: X509Source, greeterPort: number): Promise<void> {
  const kept = httpsAgent(source, { expect: authorizeId(peer) });
  const fresh = httpsAgent(source, { expect: authorizeId(peer), keepAlive: false });
  calling = true;
  for (let round = 1; !stopping; round += 1) {
    try {
      await get(round % freshEvery === 0 ? fresh : kept, greeterPort, source.svid.id.toString());
      requests += 1;
    } catch (thrown) {
      failedRequests += 1;
      lastFailure = thrown instanceof Error ? thrown.message : String(thrown);
    }
    await sleep(pauseMs);
  }
  tellTraffic(source);
  await source.close();
  exit(0);
}

/**
 * Sends one request. The answer must name the caller, so that a mix-up of identities counts as a
 * failure.
 */
function get(agent: Agent, greeterPort: number, self: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { agent, host: '127.0.0.1', port: greeterPort, timeout: 5000 },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.on('error', reject);
        response.on('end', () =>
          text === `hello ${self}\n`
            ? resolve()
            : reject(new Error(`unexpected answer ${JSON.stringify(text)}`)),
        );
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 5 s')));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

function tellIdentity({ svid }: X509Source, renewal: boolean): void {
  tell({
    type: 'identity',
    id: svid.id.toString(),
    serial: svid.serial,
    notBefore: svid.notBefore,
    notAfter: svid.notAfter,
    issuer: svid.leaf.authorityKeyId ?? '',
    renewal,
  });
}

function tellTraffic(source: X509Source): void {
  const { client, server } = source.stats().handshakes;
  const failed = [...Object.entries(client.failed), ...Object.entries(server.failed)];
  tell({
    type: 'traffic',
    requests,
    failedRequests,
    connections: client.ok + server.ok,
    failedHandshakes: failed.reduce((sum, [, count]) => sum + count, 0),
    lastFailure: lastFailure ?? failed[0]?.[0],
  });
}

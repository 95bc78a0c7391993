import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { authorizeAny, connectTls, createTlsServer, X509Source } from '../src/workload/index.ts';

// A workload that serves mTLS and connects to others all the time, each time anew. It tells what it
// sees.
//
//   node mtls-workload.js AGENT_SOCKET PAUSE_MS

export type FromWorkload =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'reported'; readonly number: number }
  | {
      readonly type: 'traffic';
      readonly handshakes: number;
      readonly failed: number;
      readonly failures: Readonly<Record<string, number>>;
      readonly chainDer: readonly string[];
    };
export type ToWorkload =
  | { readonly type: 'peers'; readonly ports: readonly number[] }
  | { readonly type: 'report'; readonly number: number };

const [, , socketPath, pause] = process.argv as [string, string, string, string];
const tell = (message: FromWorkload): void => {
  if (process.connected) process.send?.(message);
};
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);

let handshakes = 0;
let failed = 0;
const failures: Record<string, number> = {};
let ports: readonly number[] = [];
process.on('message', (message: ToWorkload) => {
  if (message.type === 'peers') ports = message.ports;
  else {
    report();
    tell({ type: 'reported', number: message.number });
  }
});

const source = await X509Source.connect({ socketPath, waitMs: 120_000 });
const server = createTlsServer(
  source,
  { authorize: authorizeAny(), handshakeTimeoutMs: 120_000 },
  (socket) => {
    socket.on('error', () => undefined);
    socket.end('x');
  },
);
server.listen(0, '127.0.0.1', () =>
  tell({ type: 'listening', port: (server.address() as AddressInfo).port }),
);
setInterval(report, 500);

function report(): void {
  tell({
    type: 'traffic',
    handshakes,
    failed,
    failures,
    chainDer: source.svid.chainDer.map((der) => der.toString('base64')),
  });
}

for (;;) {
  await sleep(Number(pause) * (0.5 + Math.random()));
  const port = ports[Math.floor(Math.random() * ports.length)];
  if (port === undefined) continue;
  try {
    const socket = await connectTls(source, {
      host: '127.0.0.1',
      port,
      expect: authorizeAny(),
      timeoutMs: 120_000,
    });
    // a server refuses only after the client's part of the handshake
    await new Promise<void>((resolve, reject) => {
      socket.once('data', () => resolve());
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed without an answer')));
    });
    socket.destroy();
    handshakes += 1;
  } catch (thrown) {
    failed += 1;
    const text =
      thrown instanceof Error
        ? `${(thrown as { code?: string }).code ?? ''} ${thrown.message}`.trim().slice(0, 200)
        : String(thrown);
    failures[text] = (failures[text] ?? 0) + 1;
  }
}

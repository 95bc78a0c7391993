import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import {
  connect,
  createServer,
  type ConnectionOptions,
  type TlsOptions,
  type TLSSocket,
} from 'node:tls';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { X509Source, type X509SourceOptions } from '../../src/workload/index.ts';
import { FakeWorkloadApi, type FakeIdentity } from './fake-workload-api.ts';
import type { TestSvid } from './test-pki.ts';

export interface Workload extends AsyncDisposable {
  readonly api: FakeWorkloadApi;
  readonly source: X509Source;
}

/** A workload with its own agent. */
export async function startWorkload(
  identity: FakeIdentity,
  options: X509SourceOptions = {},
  federated: Readonly<Record<string, readonly Buffer[]>> = {},
): Promise<Workload> {
  const api = await FakeWorkloadApi.start();
  api.setX509({ svids: [identity], federated });
  const source = await X509Source.connect({
    socketPath: api.socketPath,
    backoff: { initialMs: 5, maximumMs: 20 },
    ...options,
  });
  return {
    api,
    source,
    [Symbol.asyncDispose]: async () => {
      await source.close();
      await api[Symbol.asyncDispose]();
    },
  };
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

type Presented = Pick<TestSvid, 'chainDer' | 'privateKey'>;

const pemOf = (svid: Presented): { readonly cert: string; readonly key: string } => ({
  cert: certificatesToPem(svid.chainDer),
  key: svid.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
});

/** A TLS client without any of our checks; resolves with what it read until the end, or rejects. */
export function rawClient(
  port: number,
  svid: Presented | undefined,
  options: ConnectionOptions = {},
  say = 'hello',
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      ...(svid === undefined ? {} : pemOf(svid)),
      ...options,
    });
    let text = '';
    socket.on('secureConnect', () => socket.write(say));
    socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
    socket.on('end', () => socket.end());
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

export interface RawServer extends AsyncDisposable {
  readonly port: number;
  /** What clients have sent. */
  readonly received: string[];
}

/** A TLS server without any of our checks. */
export async function rawServer(svid: TestSvid, options: TlsOptions = {}): Promise<RawServer> {
  const received: string[] = [];
  const sockets = new Set<TLSSocket>();
  const server = createServer(
    { ...pemOf(svid), requestCert: true, rejectUnauthorized: false, ...options },
    (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('data', (bytes: Buffer) => received.push(bytes.toString()));
      socket.write('welcome');
    },
  );
  server.on('tlsClientError', () => undefined);
  const port = await listen(server);
  return {
    port,
    received,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

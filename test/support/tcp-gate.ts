import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A network between a client and a server that a test can break. */
export interface TcpGate extends AsyncDisposable {
  readonly address: string;
  /** Bytes of the server are dropped from now on: its answers get lost. */
  loseAnswers(): void;
  /** Connections that stand stay, new ones are refused. */
  refuseNew(): void;
  /** Ends every connection; new ones pass. */
  open(): void;
}

export async function tcpGate(port: () => number): Promise<TcpGate> {
  const sockets = new Set<Socket>();
  let state: 'open' | 'losing' | 'refusing' = 'open';
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  };
  const server = createServer((client) => {
    if (state === 'refusing') {
      client.destroy();
      return;
    }
    keep(client);
    const upstream = keep(connect(port(), '127.0.0.1'));
    client.pipe(upstream);
    upstream.on('data', (bytes: Buffer) => void (state !== 'losing' && client.write(bytes)));
    upstream.on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endAll = (): void => sockets.forEach((socket) => void socket.destroy());
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    loseAnswers: () => void (state = 'losing'),
    refuseNew: () => void (state = 'refusing'),
    open: () => {
      state = 'open';
      endAll();
    },
    [Symbol.asyncDispose]: async () => {
      endAll();
      server.close();
      await once(server, 'close');
    },
  };
}

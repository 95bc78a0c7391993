import type { Socket } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { type Clock, type Logger, TokenBucket } from '../../common/runtime/index.ts';
import { readClientHello } from './client-hello.ts';

export interface GreetingDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  /** A client that sends nothing for this time is closed. */
  readonly silentSeconds: number;
  /** Called for each client that does not offer TLS 1.3, with the name that it asked for. */
  readonly refused: (serverName: string | undefined) => void;
}

interface FirstWords {
  readonly address: string;
  readonly bytes: Buffer;
}

/**
 * Sees the first bytes of each connection before the TLS server does. OpenSSL refuses a client
 * without TLS 1.3 before it reads the name in the ClientHello, and its error tells neither that name
 * nor, on a closed socket, the address. Control planes' clients are set up by other teams, so that
 * the log must say which of them to mend. Owner of the first bytes, until the handshake has ended.
 */
export class Greeting {
  readonly #dependencies: GreetingDependencies;
  readonly #heard = new WeakMap<Socket, FirstWords>();
  /** Nobody can fill the disk by being refused. */
  readonly #lines: TokenBucket;

  constructor(dependencies: GreetingDependencies) {
    this.#dependencies = dependencies;
    this.#lines = new TokenBucket({ perSecond: 1, burst: 20 }, dependencies.clock);
  }

  /** Hands the connection to the TLS server with its first bytes. */
  receive(socket: Socket, server: TlsServer): void {
    socket.on('error', () => socket.destroy());
    socket.setTimeout(this.#dependencies.silentSeconds * 1000, () => socket.destroy());
    socket.once('data', (bytes: Buffer) => {
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
      this.#heard.set(socket, { address: socket.remoteAddress ?? 'unknown', bytes });
      socket.pause();
      socket.unshift(bytes);
      server.emit('connection', socket);
    });
  }

  /** The handshake has succeeded. */
  forget(socket: Socket): void {
    this.#heard.delete(socket);
  }

  /** The handshake has failed. Names the client if it offers no TLS 1.3. */
  failed(socket: Socket): void {
    const heard = this.#heard.get(socket);
    this.#heard.delete(socket);
    if (heard === undefined) return;
    const hello = readClientHello(heard.bytes);
    if (hello === undefined || hello.offersTls13) return;
    const { serverName } = hello;
    this.#dependencies.refused(serverName);
    if (this.#lines.take() > 0) return;
    this.#dependencies.logger.warn(
      { address: heard.address, serverName: serverName ?? '' },
      'a client without TLS 1.3 was refused',
    );
  }
}

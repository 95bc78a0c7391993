import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { ServerCredentials, type ConnectionInjector, type Server } from '@grpc/grpc-js';
import type { Clock } from '../../src/common/runtime/index.ts';
import { filteredSocket, type OnRefused } from './filtered-socket.ts';
import { Opening } from './opening.ts';

/** An empty SETTINGS frame (RFC 9113 section 6.5). */
const greeting = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** A client without a call for this long after the greeting gets its SETTINGS answered all the same. */
const openingMs = 1_000;

/** How node:http2 ends the session of a client that breaks the protocol (nghttp2.h). */
const sessionErrors: Readonly<Record<number, string>> = {
  [-505]: 'PROTOCOL_ERROR',
  [-522]: 'FRAME_SIZE_ERROR',
  [-523]: 'COMPRESSION_ERROR',
  [-524]: 'FLOW_CONTROL_ERROR',
  [-904]: 'ENHANCE_YOUR_CALM',
};

/**
 * Hands connections to the HTTP/2 server of grpc-js. To pass all bytes through JavaScript costs more
 * than half of what a connection costs otherwise, so node:http2 reads the sockets of most clients
 * itself. Only where the first request shows that a client needs the filter, all its bytes pass it.
 *
 * What HTTP/2 refuses is told for the whole life of a filtered connection. Of any other it is told
 * if it refused the first request, or ended the connection.
 */
export class Http2Door {
  readonly #injector: ConnectionInjector;
  readonly #clock: Clock;
  /** Their first request is not complete. */
  readonly #opening = new Set<Socket>();
  /** Watches the session that is made for a connection. */
  #onSession: ((session: ServerHttp2Session) => void) | undefined;

  constructor(server: Server, clock: Clock) {
    this.#clock = clock;
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    http2ServerOf(server).on('session', (session) => this.#onSession?.(session));
  }

  /**
   * Takes over a socket whose bytes nobody has read. grpc-js finds the connection of a call only by
   * the remote address, which becomes `id`.
   */
  enter(socket: Socket, id: string, onRefused: OnRefused): void {
    const opening = new Opening();
    let cancel = (): void => {};
    const end = (): void => {
      cancel();
      this.#opening.delete(socket);
      socket.off('data', onData);
      socket.off('close', end);
      socket.pause();
    };
    const filter = (): void => {
      end();
      const { bytes: received, greeted } = opening;
      this.inject(named(filteredSocket(socket, { received, greeted, onRefused }), id));
    };
    const onData = (chunk: Buffer): void => {
      const step = opening.push(chunk);
      if (step.kind === 'greet') {
        socket.write(greeting);
        cancel = this.#clock.after(openingMs, filter);
      } else if (step.kind === 'filtered') filter();
      else if (step.kind === 'direct') {
        end();
        socket.unshift(step.bytes);
        this.#injectWatched(named(socket, id), onRefused);
      }
    };
    this.#opening.add(socket);
    socket.on('close', end);
    socket.on('data', onData);
  }

  /** Hands over a socket as it is. */
  inject(socket: Socket): void {
    this.#injector.injectConnection(socket);
  }

  /** Lets open calls end within the grace. */
  drain(graceMs: number): void {
    for (const socket of this.#opening) socket.destroy();
    this.#injector.drain(graceMs);
  }

  close(): void {
    this.#injector.destroy();
  }

  #injectWatched(socket: Socket, onRefused: OnRefused): void {
    let called = false;
    this.#onSession = (session) => {
      session.once('stream', () => (called = true));
      session.on('error', ({ errno }: NodeJS.ErrnoException) => {
        const code = sessionErrors[errno ?? 0];
        if (code !== undefined) onRefused('connection', code);
      });
    };
    this.inject(socket);
    this.#onSession = undefined;
    // by then node:http2 has read the request, and has reset a stream whose headers are malformed
    setImmediate(() => {
      if (!called && !socket.destroyed) onRefused('stream', 'PROTOCOL_ERROR');
    });
  }
}

const named = (socket: Socket, id: string): Socket =>
  Object.defineProperty(socket, 'remoteAddress', { value: id });

/** grpc-js does not show the server that it injects connections into. */
function http2ServerOf(server: Server): Http2Server {
  const { http2Servers } = server as unknown as {
    readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
  };
  const http2 = [...(http2Servers?.keys() ?? [])].at(-1);
  if (http2 === undefined)
    throw new Error('this release of grpc-js does not show its HTTP/2 server');
  return http2;
}

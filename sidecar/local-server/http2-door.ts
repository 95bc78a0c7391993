import {
  constants,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { ServerCredentials, type ConnectionInjector, type Server } from '@grpc/grpc-js';
import { InOrder, type Clock } from '../../src/common/runtime/index.ts';
import type { Kernel } from '../attest/index.ts';
import { descriptorOf } from './descriptor.ts';
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
  readonly #kernel: Pick<Kernel, 'peek'>;
  /** Their first request is not complete. */
  readonly #opening = new InOrder<Socket>();
  /** Watches the session that is made for a connection. */
  #onSession: ((session: ServerHttp2Session) => void) | undefined;

  constructor(server: Server, clock: Clock, kernel: Pick<Kernel, 'peek'>) {
    this.#clock = clock;
    this.#kernel = kernel;
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    http2ServerOf(server).on('session', (session) => this.#onSession?.(session));
  }

  /**
   * Takes over a socket whose bytes nobody has read. grpc-js finds the connection of a call only by
   * the remote address, which becomes `id`.
   */
  enter(socket: Socket, id: string, onRefused: OnRefused): void {
    // attestation took long enough for most clients to have sent their first request
    if (this.#isDirect(socket)) {
      this.#injectWatched(named(socket, id), onRefused);
      return;
    }
    const opening = new Opening();
    let cancel = (): void => {};
    const end = (): void => {
      cancel();
      this.#opening.remove(place);
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
    const place = this.#opening.add(socket);
    socket.on('close', end);
    socket.on('data', onData);
  }

  /** Hands over a socket as it is. */
  inject(socket: Socket): void {
    this.#injector.injectConnection(socket);
  }

  /** Lets open calls end within the grace. */
  drain(graceMs: number): void {
    for (const socket of [...this.#opening]) socket.destroy();
    this.#injector.drain(graceMs);
  }

  close(): void {
    this.#injector.destroy();
  }

  /** Whether what the socket holds, unread, ends with a first request that needs no filter. */
  #isDirect(socket: Socket): boolean {
    const size = this.#kernel.peek(descriptorOf(socket), peeked);
    return size > 0 && new Opening().push(peeked.subarray(0, size)).kind === 'direct';
  }

  #injectWatched(socket: Socket, onRefused: OnRefused): void {
    const watched: Watched = { called: false, onRefused, streams: new Set() };
    // before the listener of node:http2, which would make an error of its own for open streams
    socket.once('close', () => endStreams(watched));
    this.#onSession = (session) => watch(session, watched);
    this.inject(socket);
    this.#onSession = undefined;
    // by the second turn node:http2 has read the request, and has reset a stream whose headers are
    // malformed
    setImmediate(() =>
      setImmediate(() => {
        if (!watched.called && !socket.destroyed) onRefused('stream', 'PROTOCOL_ERROR');
      }),
    );
  }
}

/** Only looked at within one turn. Larger openings are read and collected. */
const peeked = Buffer.alloc(4096);

interface Watched {
  called: boolean;
  readonly onRefused: OnRefused;
  /** That are open. */
  readonly streams: Set<ServerHttp2Stream>;
}

/** Its listeners stay with the session, and so must not hold the socket. */
function watch(session: ServerHttp2Session, watched: Watched): void {
  session.on('stream', (stream) => {
    watched.called = true;
    watched.streams.add(stream);
    stream.once('close', () => watched.streams.delete(stream));
  });
  session.on('error', ({ errno }: NodeJS.ErrnoException) => {
    const code = sessionErrors[errno ?? 0];
    if (code !== undefined) watched.onRefused('connection', code);
  });
}

/** The client is gone: ends its streams as node:http2 does, without an error for each. */
function endStreams({ streams }: Watched): void {
  for (const stream of streams) {
    stream.close(constants.NGHTTP2_CANCEL);
    stream.destroy();
  }
  streams.clear();
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

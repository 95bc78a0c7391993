import { performServerHandshake } from 'node:http2';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { AuthorityFilter } from './authority-filter.ts';
import { RefusedFrames } from './refused-frames.ts';

/** A socket that filters the incoming bytes and observes the outgoing ones. */
class FilteredSocket extends Duplex {
  readonly #socket: Socket;
  readonly #outgoing: RefusedFrames;

  constructor(socket: Socket, { received, greeted, onRefused }: FilteredSocketOptions) {
    super();
    this.#socket = socket;
    this.#outgoing = new RefusedFrames(onRefused);
    const incoming = new AuthorityFilter(greeted);
    const take = (chunk: Buffer): void => {
      const passed = incoming.push(chunk);
      if (passed.length > 0 && !this.push(passed)) socket.pause();
    };
    take(received);
    socket.on('data', take);
    socket.once('end', () => this.push(null));
    socket.once('close', () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  /**
   * Passes on the callback of the socket itself, since proof of delivery needs to know when the
   * kernel has the bytes.
   */
  override _write(
    chunk: Buffer,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    this.#outgoing.watch(chunk);
    this.#socket.write(chunk, callback);
  }

  override _writev(
    chunks: readonly { readonly chunk: Buffer }[],
    callback: (error?: Error | null) => void,
  ): void {
    const all = chunks.map(({ chunk }) => chunk);
    for (const each of all) this.#outgoing.watch(each);
    this.#socket.write(Buffer.concat(all), callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#socket.end(callback);
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.destroy();
    callback();
  }
}

export type OnRefused = ConstructorParameters<typeof RefusedFrames>[0];

export interface FilteredSocketOptions {
  /** What was read of the socket before. */
  readonly received: Buffer;
  /** See AuthorityFilter. */
  readonly greeted: boolean;
  readonly onRefused: OnRefused;
}

type SocketOverStream = new (stream: Duplex) => Socket;

let overStream: SocketOverStream | undefined;

/**
 * Returns Node's class of sockets over a stream, which node:http2 reads as fast as its own sockets.
 * The class has no public name; a session over a stream that is no socket reveals it.
 */
function socketOverStream(): SocketOverStream {
  if (overStream === undefined) {
    const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
    const session = performServerHandshake(stream);
    session.on('error', () => {});
    overStream = session.socket.constructor as SocketOverStream;
    session.destroy();
  }
  return overStream;
}

/** The socket that node:http2 gets instead of the accepted one. */
export const filteredSocket = (socket: Socket, options: FilteredSocketOptions): Socket =>
  new (socketOverStream())(new FilteredSocket(socket, options));

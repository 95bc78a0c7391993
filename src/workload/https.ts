import { Agent, createServer, type RequestOptions, type Server } from 'node:https';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { peerOf } from './peers.ts';
import { connectTls, type ClientOptions } from './tls-client.ts';
import { protectServer, tlsServerOptions, type ServerOptions } from './tls-server.ts';
import type { X509Source } from './x509-source.ts';

/**
 * Seconds before the end of a peer's certificate from which on a kept-alive connection takes no new
 * request.
 */
const lastSeconds = 2;

/**
 * An HTTPS server that serves verified and authorized peers only (`peerOf(request.socket)` tells
 * whom) and rotates by itself.
 */
export function createHttpsServer(
  source: X509Source,
  options: ServerOptions,
  onRequest: RequestListener,
): Server {
  const server = createServer(tlsServerOptions(source, options));
  protectServer(source, server, options.authorize);
  server.on('request', (request, response) => {
    const peer = peerOf(request.socket);
    // ask the client for a new connection before this one ends
    if (peer !== undefined && endsSoon(peer.notAfter)) response.shouldKeepAlive = false;
    onRequest(request, response);
  });
  return server;
}

/**
 * For `https.request({agent})`: every new connection has the current certificate and a verified
 * server. Destroy it with the source.
 */
export function httpsAgent(
  source: X509Source,
  options: ClientOptions & { readonly keepAlive?: boolean; readonly maxSockets?: number },
): Agent {
  return new SvidAgent(source, options);
}

class SvidAgent extends Agent {
  readonly #source: X509Source;
  readonly #options: ClientOptions;
  readonly #stop: () => void;
  /**
   * Counts certificates. A connection of an earlier one finishes its request and is not used again.
   */
  #generation = 0;
  readonly #born = new WeakMap<object, number>();

  constructor(
    source: X509Source,
    options: ClientOptions & { readonly keepAlive?: boolean; readonly maxSockets?: number },
  ) {
    // sessions are never cached, since a resumed one would skip the check of the certificate
    super({
      keepAlive: options.keepAlive ?? true,
      maxCachedSessions: 0,
      ...(options.maxSockets === undefined ? {} : { maxSockets: options.maxSockets }),
    });
    this.#source = source;
    this.#options = options;
    this.#stop = source.onUpdate(() => {
      this.#generation += 1;
      for (const sockets of Object.values(this.freeSockets))
        for (const socket of sockets ?? []) socket.destroy();
    });
  }

  override createConnection(
    options: RequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const generation = this.#generation;
    const { host, port } = options;
    connectTls(this.#source, {
      expect: this.#options.expect,
      host: host ?? 'localhost',
      port: Number(port ?? 443),
    }).then(
      (socket) => {
        this.#born.set(socket, generation);
        callback?.(null, socket);
      },
      (error: unknown) => callback?.(error as Error, undefined as unknown as Duplex),
    );
    return undefined;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    const peer = peerOf(socket as Socket);
    if (
      peer === undefined ||
      endsSoon(peer.notAfter) ||
      this.#born.get(socket) !== this.#generation
    )
      return false;
    return (super.keepSocketAlive as unknown as (this: Agent, socket: Duplex) => boolean).call(
      this,
      socket,
    );
  }

  override destroy(): void {
    this.#stop();
    super.destroy();
  }
}

const endsSoon = (notAfter: number): boolean => notAfter - Date.now() / 1000 < lastSeconds;

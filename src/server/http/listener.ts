import { constants } from 'node:crypto';
import {
  createServer as createHttpServer,
  STATUS_CODES,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { portError } from '../../common/runtime/port-error.ts';
import {
  errorFields,
  ConnectionSlots,
  type Clock,
  type Logger,
} from '../../common/runtime/index.ts';
import { trustedProxies } from './client-address.ts';
import { Exchange } from './exchange.ts';
import { failure, jsonErrorForm } from './failure.ts';
import type { HttpAnswer, HttpFailure, HttpPlugin } from './plugin.ts';
import type { Routes } from './routes.ts';

/** Certificate and key of a TLS listener, renewed while it listens. */
export interface HttpIdentity {
  current(): { readonly chainPem: string; readonly keyPem: string };
  onChange(listener: () => void): () => void;
}

export interface HttpListenerPlan {
  readonly name: 'plain' | 'tls' | 'federation-web' | 'federation-spiffe';
  /** The key of the configuration, for errors. */
  readonly setting: string;
  readonly address: string;
  readonly port: number;
  readonly trustedProxies: readonly string[];
  /** Absent: plain HTTP. */
  readonly identity?: HttpIdentity;
  /** Absent: TLS 1.3 alone. */
  readonly minVersion?: 'TLSv1.2';
  readonly routes: Routes;
  readonly publicBaseUrl: string | undefined;
  readonly limits: HttpListenerLimits;
}

export interface HttpListenerLimits {
  readonly connections: number;
  /** Seconds for a request's head, with the TLS handshake; beyond: 408. */
  readonly headSeconds: number;
  /** Seconds for a whole request with its body; beyond: 408. */
  readonly requestSeconds: number;
  /** Seconds for a client to read an answer; beyond, its connection ends. */
  readonly answerSeconds: number;
}

export interface HttpListenerDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: HttpObserver;
}

export interface HttpObserver {
  /** `plugin` is `none` if the plug-in of the request is unknown. */
  answered(plugin: string, status: number): void;
  /** Called for connections that were ended to make room for others. */
  refused(listener: string, reason: 'evicted' | 'full'): void;
}

export interface HttpListener {
  readonly port: number;
  /** Ends connections without a whole request. Lets the others get their answers for `graceMs`. */
  close(graceMs: number): Promise<void>;
}

const headBytes = 16 * 1024;
/** The interval at which Node looks for slow requests; its default is 30 s. */
const checkEveryMs = 1_000;
/** How long a client that still sends may take to read its refusal. */
const lingerMs = 1_000;

/**
 * One listener of the HTTP front. It limits sockets, sizes and times; `Exchange` handles the
 * requests.
 */
export async function startHttpListener(
  plan: HttpListenerPlan,
  dependencies: HttpListenerDependencies,
): Promise<HttpListener> {
  const listener = new Listener(plan, dependencies);
  await listener.listen();
  return listener;
}

class Listener implements HttpListener {
  readonly #plan: HttpListenerPlan;
  readonly #dependencies: HttpListenerDependencies;
  readonly #slots: ConnectionSlots;
  readonly #exchange: Exchange;
  readonly #server: Server;
  /** The last plug-in of each connection. It defines the form of errors without a handler. */
  readonly #speaking = new WeakMap<Socket, HttpPlugin>();
  readonly #answers = new WeakMap<Socket, ServerResponse>();
  readonly #refused = new WeakSet<Socket>();
  #stopWatching: (() => void) | undefined;
  #closing = false;

  constructor(plan: HttpListenerPlan, dependencies: HttpListenerDependencies) {
    this.#plan = plan;
    this.#dependencies = dependencies;
    this.#slots = new ConnectionSlots(plan.limits.connections, (reason) =>
      dependencies.observe.refused(plan.name, reason),
    );
    this.#exchange = new Exchange({
      routes: plan.routes,
      proxies: trustedProxies(plan.trustedProxies),
      publicBaseUrl: plan.publicBaseUrl,
      clock: dependencies.clock,
      logger: dependencies.logger,
      claimed: ({ socket }, plugin) => this.#speaking.set(socket, plugin),
      received: ({ socket }) => this.#slots.requestComplete(socket),
    });
    this.#server = this.#create();
    this.#server.prependListener('connection', (socket: Socket) => this.#slots.add(socket));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) =>
      this.#refuse(error, socket as Socket),
    );
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async listen(): Promise<void> {
    const { setting, address, port } = this.#plan;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) =>
        reject(portError(`${setting}:`, { address, port }, error)),
      );
      this.#server.listen({ host: address, port }, resolve);
    });
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    this.#stopWatching?.();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#slots.destroyUnfinished();
    const cancel = this.#dependencies.clock.after(graceMs, () =>
      this.#server.closeAllConnections(),
    );
    await closed;
    cancel();
  }

  #create(): Server {
    const { identity, limits, minVersion } = this.#plan;
    const options: ServerOptions = {
      connectionsCheckingInterval: checkEveryMs,
      headersTimeout: limits.headSeconds * 1000,
      requestTimeout: limits.requestSeconds * 1000,
      maxHeaderSize: headBytes,
      // Exchange refuses a missing Host header, in the form of the plug-in
      requireHostHeader: false,
    };
    const handle = (request: IncomingMessage, response: ServerResponse): void =>
      void this.#serve(request, response);
    if (identity === undefined) return createHttpServer(options, handle);
    const server = createHttpsServer(
      {
        ...options,
        ...secureContextOf(identity, minVersion),
        handshakeTimeout: limits.headSeconds * 1000,
      },
      handle,
    );
    this.#stopWatching = identity.onChange(() =>
      server.setSecureContext(secureContextOf(identity, minVersion)),
    );
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    const { observe, logger } = this.#dependencies;
    this.#answers.set(socket, response);
    response.once('close', () => this.#over(socket, response));
    response.on('error', () => response.destroy());
    try {
      const { plugin, answer } = await this.#exchange.answer(request, response);
      if (answer === undefined || response.destroyed || response.writableEnded) return;
      observe.answered(plugin, answer.status);
      this.#send(request, response, answer);
    } catch (thrown) {
      logger.error({ ...errorFields(thrown) }, 'HTTP answer failed');
      response.destroy();
    }
  }

  #send(request: IncomingMessage, response: ServerResponse, answer: HttpAnswer): void {
    // the unread part of a body must not be taken for the next request
    const unread = !request.complete;
    if (unread || this.#closing) response.shouldKeepAlive = false;
    const cancel = this.#dependencies.clock.after(this.#plan.limits.answerSeconds * 1000, () =>
      response.destroy(),
    );
    response.once('close', cancel);
    const body = Buffer.from(answer.body ?? '');
    response.writeHead(answer.status, {
      'x-content-type-options': 'nosniff',
      ...(answer.headers as OutgoingHttpHeaders | undefined),
      'content-length': body.length,
    });
    if (request.method !== 'HEAD' && body.length > 0) response.write(body);
    if (!unread) {
      response.end();
      return;
    }
    // a connection that ends with unread bytes is reset, and the client may lose the answer
    const end = (): void => void response.end();
    request.once('end', end).once('close', end).resume();
    response.once('close', this.#dependencies.clock.after(lingerMs, end));
  }

  #over(socket: Socket, response: ServerResponse): void {
    if (this.#answers.get(socket) === response) this.#answers.delete(socket);
    this.#slots.requestOver(socket);
  }

  /** Answers what Node refuses before or without a handler: 400, 408, 431. */
  #refuse(error: NodeJS.ErrnoException, socket: Socket): void {
    // Node reports again when more bytes arrive
    if (this.#refused.has(socket)) return;
    this.#refused.add(socket);
    const answered = this.#answers.get(socket);
    const refused = refusalOf(error);
    if (refused === undefined || !socket.writable || answered?.headersSent === true) {
      socket.destroy();
      return;
    }
    const plugin = this.#speaking.get(socket) ?? this.#onlyPlugin();
    const answer = (plugin?.errorForm ?? jsonErrorForm)(refused);
    this.#dependencies.observe.answered(plugin?.name ?? 'none', answer.status);
    const end = (): void => void socket.destroy();
    socket.end(rawAnswer(answer));
    socket.once('end', end).resume();
    socket.once('close', this.#dependencies.clock.after(lingerMs, end));
  }

  /**
   * Before the resource of a request is known, its errors have the form of the only plug-in on the
   * listener, if there is only one.
   */
  #onlyPlugin(): HttpPlugin | undefined {
    const { plugins } = this.#plan.routes;
    return plugins.length === 1 ? plugins[0] : undefined;
  }
}

/** Of TLS 1.2: forward secrecy and authenticated encryption alone. */
const ciphers =
  'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:' +
  'ECDHE+AESGCM:ECDHE+CHACHA20';

/** Without tickets: a resumed session would keep a certificate that was replaced. */
export const secureContextOf = (
  identity: HttpIdentity,
  minVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3',
) => {
  const { chainPem, keyPem } = identity.current();
  return {
    cert: chainPem,
    key: keyPem,
    minVersion,
    ciphers,
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
};

function refusalOf(error: NodeJS.ErrnoException): HttpFailure | undefined {
  switch (error.code) {
    case 'ECONNRESET':
      return undefined;
    case 'HPE_HEADER_OVERFLOW':
      return failure(431, 'REQUEST_TOO_LARGE', `the head has more than ${headBytes} bytes`, {
        next: 'Send fewer or shorter header fields.',
      });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return failure(408, 'DEADLINE_EXCEEDED', 'the request did not come in time', {
        next: 'Send the whole request at once.',
      });
    default:
      return failure(400, 'INVALID_REQUEST', 'this is not an HTTP/1.1 request');
  }
}

function rawAnswer({ status, headers = {}, body = '' }: HttpAnswer): Buffer {
  const content = Buffer.from(body);
  const lines = Object.entries({
    'x-content-type-options': 'nosniff',
    ...headers,
    'content-length': String(content.length),
    connection: 'close',
  }).flatMap(([name, value]) => [value].flat().map((each) => `${name}: ${each}\r\n`));
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`;
  return Buffer.concat([Buffer.from(head), content]);
}

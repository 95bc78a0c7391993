import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { PkiError } from '../../common/errors/index.ts';
import { portError } from '../../common/runtime/port-error.ts';
import {
  errorFields,
  boundConnections,
  isLocalHost,
  isLoopback,
  type Logger,
} from '../../common/runtime/index.ts';
import { secureContextOf, type HttpIdentity } from './listener.ts';

export interface OperationsPortDependencies {
  readonly metrics: () => Promise<string>;
  readonly metricsContentType: string;
  readonly reasons: () => readonly string[];
  /** Called for connections that were ended to make room for others. */
  readonly onRefused: (reason: 'evicted' | 'full') => void;
  readonly logger: Logger;
  readonly options: {
    readonly address: string;
    readonly port: number;
    /** Absent: plain HTTP. */
    readonly identity?: HttpIdentity;
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const maximumConnections = 256;

/**
 * HTTP for operations: read-only, without secrets, on loopback unless it has TLS (the configuration
 * checks that). It is separate from the HTTP front, so that trouble there does not affect probes
 * and metrics.
 */
export async function startOperationsPort(
  dependencies: OperationsPortDependencies,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { options } = dependencies;
  const { server, stopFollowing } = createServer(options.identity, answerWith(dependencies));
  const slots = boundConnections(server, maximumConnections, dependencies.onRefused);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(portError('the operations port (ops)', options, error)),
    );
    server.listen({ host: options.address, port: options.port }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise<void>((resolve) => {
        stopFollowing();
        server.close(() => resolve());
        // a handshake under way is not an HTTP connection yet
        slots.destroyUnfinished();
        server.closeAllConnections();
      }),
  };
}

/** The server, which follows the identity's renewals. */
function createServer(
  identity: HttpIdentity | undefined,
  handle: RequestListener,
): { readonly server: Server; readonly stopFollowing: () => void } {
  const times = {
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    // The interval at which Node looks for slow requests; its default is 30 s.
    connectionsCheckingInterval: 1_000,
  };
  if (identity === undefined)
    return { server: createHttpServer(times, handle), stopFollowing: () => {} };
  const server = createHttpsServer(
    { ...times, ...secureContextOf(identity), handshakeTimeout: times.headersTimeout },
    handle,
  );
  const stopFollowing = identity.onChange(() => server.setSecureContext(secureContextOf(identity)));
  return { server, stopFollowing };
}

const answerWith =
  (dependencies: OperationsPortDependencies): RequestListener =>
  (request, response) => {
    route(request, dependencies)
      .catch((thrown: unknown): Answer => {
        const { code, next } = PkiError.from(thrown);
        dependencies.logger.error(
          { ...errorFields(thrown), path: request.url?.slice(0, 200) },
          'operations request failed',
        );
        return json(503, { code, message: 'internal error', next });
      })
      .then(
        (answer) => send(request, response, answer),
        () => response.destroy(),
      );
  };

async function route(
  request: IncomingMessage,
  { metrics, metricsContentType, reasons, options }: OperationsPortDependencies,
): Promise<Answer> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return json(405, { code: 'INVALID_REQUEST', message: 'only GET is supported here' });
  const path = (request.url ?? '/').split('?', 1)[0] as string;
  switch (path) {
    case '/metrics':
      // A web page in a browser of this machine must not read metrics through a name that points to
      // loopback. The other resources are public.
      if (isLoopback(options.address) && !isLocalHost(request.headers.host))
        return json(421, {
          code: 'INVALID_REQUEST',
          message: 'on loopback, metrics are for a Host that is an address or localhost',
          next: 'Scrape by address, or let the proxy in front set Host to the address that it connects to.',
        });
      return { status: 200, type: metricsContentType, body: await metrics() };
    case '/live':
      return json(200, { live: true });
    case '/ready': {
      const present = reasons();
      return json(present.length === 0 ? 200 : 503, {
        ready: present.length === 0,
        reasons: present,
      });
    }
    default:
      return json(404, {
        code: 'NOT_FOUND',
        message: `there is no resource ${path.slice(0, 100)}`,
        next:
          'This port has /metrics, /live and /ready. The bundle and CRLs are at the HTTP ' +
          'ports: http.plain, http.tls.',
      });
  }
}

const json = (status: number, body: object): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(body)}\n`,
});

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  response.writeHead(answer.status, {
    'content-type': answer.type,
    'x-content-type-options': 'nosniff',
  });
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}

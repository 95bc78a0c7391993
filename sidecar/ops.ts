import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { portError } from '../src/common/runtime/port-error.ts';
import {
  errorFields,
  boundConnections,
  isLocalHost,
  type Logger,
} from '../src/common/runtime/index.ts';

export interface OpsDependencies {
  readonly address: string;
  readonly port: number;
  readonly metrics: () => Promise<string>;
  readonly metricsContentType: string;
  /** Why no workload can be served; empty when it can. `notes` do not make the agent unready. */
  readonly readiness: () => {
    readonly reasons: readonly string[];
    readonly notes: readonly string[];
  };
  /** Connections that were ended so that others find room. */
  readonly onRefused: (reason: 'evicted' | 'full') => void;
  readonly logger: Logger;
}

const maximumConnections = 32;
const times = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  // Node looks for requests that take too long only so often; its default is 30 s
  connectionsCheckingInterval: 1_000,
};

export interface OpsServer extends AsyncDisposable {
  readonly port: number;
}

/**
 * HTTP for operations on a loopback address: /metrics, /live, /ready. Read-only, no secrets. Throws
 * SOCKET_IN_USE.
 */
export async function startOps(dependencies: OpsDependencies): Promise<OpsServer> {
  const server = createServer(times, (request, response) =>
    answer(dependencies, request, response),
  );
  const slots = boundConnections(server, maximumConnections, dependencies.onRefused);
  await listen(server, dependencies);
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        slots.destroyUnfinished();
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { address, port }: OpsDependencies): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(portError('the operations port (ops)', { address, port }, error)),
    );
    server.listen({ host: address, port }, resolve);
  });
}

function answer(
  dependencies: OpsDependencies,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    sendJson(response, 405, { code: 'INVALID_REQUEST', message: 'only GET is offered here' });
    return;
  }
  switch ((request.url ?? '/').split('?', 1)[0]) {
    case '/live':
      sendJson(response, 200, { live: true });
      return;
    case '/ready': {
      const { reasons, notes } = dependencies.readiness();
      const ready = reasons.length === 0;
      sendJson(response, ready ? 200 : 503, { ready, reasons, notes });
      return;
    }
    case '/metrics':
      answerMetrics(dependencies, request, response);
      return;
    default:
      sendJson(response, 404, {
        code: 'NOT_FOUND',
        message: 'there are /metrics, /live and /ready',
      });
  }
}

function answerMetrics(
  dependencies: OpsDependencies,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  // a page in a browser of this machine must not read them by a name that it made point to loopback
  if (!isLocalHost(request.headers.host)) {
    sendJson(response, 421, {
      code: 'INVALID_REQUEST',
      message: 'metrics are for a Host that is an address or localhost',
    });
    return;
  }
  dependencies.metrics().then(
    (text) => send(response, 200, dependencies.metricsContentType, text),
    (thrown: unknown) => {
      dependencies.logger.error({ ...errorFields(thrown) }, 'metrics could not be collected');
      send(response, 500, 'text/plain', 'metrics could not be collected\n');
    },
  );
}

const sendJson = (response: ServerResponse, status: number, body: object): void =>
  send(response, status, 'application/json', JSON.stringify(body));

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}

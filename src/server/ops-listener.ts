import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { PkiError } from '../common/errors/index.ts';
import { isLocalHost, type Logger } from '../common/runtime/index.ts';

export interface OpsDependencies {
  readonly metrics: () => Promise<string>;
  readonly metricsContentType: string;
  readonly reasons: () => readonly string[];
  /** SPIFFE bundle document. Throws while there is none. */
  readonly bundle: () => string;
  readonly bundleRefreshSeconds: number;
  readonly crl: (authorityId: string) => Promise<Buffer>;
  readonly logger: Logger;
  readonly options: {
    readonly address: string;
    readonly port: number;
    readonly tls?: { readonly certPem: string; readonly keyPem: string };
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * HTTP for operations: read-only, no secrets, loopback unless it has TLS (the configuration sees to
 * that).
 */
export async function startOpsListener(
  dependencies: OpsDependencies,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { options, logger } = dependencies;
  const handle: RequestListener = (request, response) => {
    route(request, dependencies)
      .catch((thrown: unknown): Answer => {
        const error = PkiError.from(thrown);
        if (error.code === 'INTERNAL')
          logger.error({ error: error.message, path: request.url }, 'operations request failed');
        return json(error.code === 'NOT_FOUND' ? 404 : 503, {
          code: error.code,
          message: error.code === 'INTERNAL' ? 'internal error' : error.message,
          next: error.next,
        });
      })
      .then(
        (answer) => send(request, response, answer),
        () => response.destroy(),
      );
  };
  const server =
    options.tls === undefined
      ? createHttpServer(handle)
      : createHttpsServer(
          { cert: options.tls.certPem, key: options.tls.keyPem, minVersion: 'TLSv1.3' },
          handle,
        );
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new PkiError(
          'SOCKET_IN_USE',
          `the operations port ${options.address}:${options.port} can not be used: ${error.code ?? error.message}`,
          { cause: error, grade: 'fatal' },
        ),
      ),
    );
    server.listen({ host: options.address, port: options.port }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function route(request: IncomingMessage, dependencies: OpsDependencies): Promise<Answer> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return json(405, { code: 'INVALID_REQUEST', message: 'only GET is offered here' });
  const path = (request.url ?? '/').split('?', 1)[0] as string;
  switch (path) {
    case '/metrics':
      // a page in a browser of this machine must not read them by a name that it made point to
      // loopback; the rest is public
      if (isLoopback(dependencies.options.address) && !isLocalHost(request.headers.host))
        return json(421, {
          code: 'INVALID_REQUEST',
          message: 'on loopback, metrics are for a Host that is an address or localhost',
          next: 'Scrape by address, or let the proxy in front set Host to the address that it connects to.',
        });
      return {
        status: 200,
        type: dependencies.metricsContentType,
        body: await dependencies.metrics(),
      };
    case '/live':
      return json(200, { live: true });
    case '/ready': {
      const reasons = dependencies.reasons();
      return json(reasons.length === 0 ? 200 : 503, { ready: reasons.length === 0, reasons });
    }
    case '/bundle':
      return {
        status: 200,
        type: 'application/json',
        body: dependencies.bundle(),
        headers: { 'cache-control': `max-age=${dependencies.bundleRefreshSeconds}` },
      };
    default: {
      const crl = /^\/crl\/([0-9A-Za-z-]{1,64})\.crl$/.exec(path);
      if (crl !== null)
        return {
          status: 200,
          type: 'application/pkix-crl',
          body: await dependencies.crl(crl[1] as string),
        };
      return json(404, {
        code: 'NOT_FOUND',
        message: `${path.slice(0, 100)} is not offered here`,
        next: 'Offered: /metrics, /live, /ready, /bundle, /crl/<authority id>.crl',
      });
    }
  }
}

const isLoopback = (address: string): boolean =>
  address === '::1' || address === 'localhost' || address.startsWith('127.');

const json = (status: number, body: object): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(body)}\n`,
});

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  response.writeHead(answer.status, {
    'content-type': answer.type,
    'x-content-type-options': 'nosniff',
    ...answer.headers,
  });
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}

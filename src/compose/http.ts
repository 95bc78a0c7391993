import type { ServerConfig } from '../config/index.ts';
import {
  bundlePlugin,
  crlPlugin,
  HttpFront,
  startOperationsPort,
  type HttpIdentity,
} from '../server/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import { readPem } from './settings.ts';

/** What the server offers to others over HTTP, one plug-in per line. */
export async function openHttp(
  { config, clock, logger, metrics }: ServerContext,
  { registry, crls }: AuthorityStage,
): Promise<HttpFront> {
  const plugins = [
    bundlePlugin({
      document: () => registry.bundle().document,
      refreshHintSeconds: config.issuance.bundleRefreshHintSeconds,
    }),
    crlPlugin((id) => crls.crl(id)),
  ];
  await using stack = new AsyncDisposableStack();
  const front = stack.use(
    await HttpFront.start(
      plugins,
      { ...config.http, limits: config.http },
      {
        clock,
        logger: logger.child({ part: 'http' }),
        observe: {
          answered: (plugin, status) => metrics.httpAnswered(plugin, status),
          refused: (listener, reason) => metrics.httpRefused(listener, reason),
        },
      },
    ),
  );
  const configured = httpIdentity(config);
  if (configured !== undefined) await front.openTls(configured);
  stack.move();
  return front;
}

/** The operator's certificate for the HTTPS port, in place of the server's own. */
function httpIdentity({ http: { tls } }: ServerConfig): HttpIdentity | undefined {
  if (tls.certFile === undefined || tls.keyFile === undefined) return undefined;
  const identity = {
    chainPem: readPem(tls.certFile, 'http.tls.certFile'),
    keyPem: readPem(tls.keyFile, 'http.tls.keyFile'),
  };
  return { current: () => identity, onChange: () => () => {} };
}

export function openOperationsPort({ config, metrics, readiness, logger }: ServerContext) {
  const { address, port, tlsCertFile, tlsKeyFile } = config.ops;
  return startOperationsPort({
    metrics: () => metrics.registry.metrics(),
    metricsContentType: metrics.registry.contentType,
    reasons: () => readiness.reasons(),
    onRefused: (reason) => metrics.httpRefused('operations', reason),
    logger,
    options: {
      address,
      port,
      ...(tlsCertFile === undefined || tlsKeyFile === undefined
        ? {}
        : {
            tls: {
              certPem: readPem(tlsCertFile, 'ops.tlsCertFile'),
              keyPem: readPem(tlsKeyFile, 'ops.tlsKeyFile'),
            },
          }),
    },
  });
}

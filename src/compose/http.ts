import { certificatesToPem } from '../common/x509/index.ts';
import type { ServerConfig } from '../config/index.ts';
import type { Authority } from '../domain/index.ts';
import {
  bundlePlugin,
  crlPlugin,
  issuerPlugin,
  namesPlugin,
  ocspPlugin,
  HttpFront,
  startOperationsPort,
  type HttpIdentity,
  type HttpPlugin,
} from '../server/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import { FileIdentity } from './file-identity.ts';

/**
 * What the server offers to others over HTTP, one plug-in per line. `identity`: the operator's
 * certificate for the HTTPS port, in place of the server's own.
 */
export async function openHttp(
  { config, clock, logger, metrics }: ServerContext,
  { registry, crls, ocsp }: AuthorityStage,
  {
    identity,
    acme,
  }: { readonly identity: HttpIdentity | undefined; readonly acme: HttpPlugin | undefined },
): Promise<HttpFront> {
  const plugins = [
    bundlePlugin({
      document: () => registry.bundle().document,
      refreshHintSeconds: config.issuance.bundleRefreshHintSeconds,
    }),
    crlPlugin((id, shard) => crls.crl(id, shard)),
    namesPlugin(() => certificatesToPem(registry.namesRootsDer())),
    issuerPlugin((id) => certificateOf(registry.all(), id)),
    ...(acme === undefined ? [] : [acme]),
    ...(ocsp === undefined
      ? []
      : [
          ocspPlugin({
            reply: (id, requestDer) => ocsp.reply(id, requestDer),
            clock,
            observe: (result) => metrics.ocsp.asked(result),
          }),
        ]),
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
  if (identity !== undefined) await front.openTls(identity);
  stack.move();
  return front;
}

const certificateOf = (all: readonly Authority[], id: string): Buffer | undefined =>
  all.find((authority) => authority.id === id)?.certificateDer ?? undefined;

/** The identities of ports whose certificates an operator maintains as files. */
export interface PortIdentities {
  readonly http: FileIdentity | undefined;
  readonly operations: FileIdentity | undefined;
  readonly federation: FileIdentity | undefined;
}

/** @throws PkiError CONFIG_INVALID */
export const portIdentities = ({ http, ops, federation }: ServerConfig): PortIdentities => ({
  http: fileIdentity('http.tls.certFile', http.tls.certFile, 'http.tls.keyFile', http.tls.keyFile),
  operations: fileIdentity('ops.tlsCertFile', ops.tlsCertFile, 'ops.tlsKeyFile', ops.tlsKeyFile),
  federation: fileIdentity(
    'federation.web.certFile',
    federation.web?.certFile,
    'federation.web.keyFile',
    federation.web?.keyFile,
  ),
});

const fileIdentity = (
  certKey: string,
  certFile: string | undefined,
  keyKey: string,
  keyFile: string | undefined,
): FileIdentity | undefined =>
  certFile === undefined || keyFile === undefined
    ? undefined
    : new FileIdentity({ key: certKey, path: certFile }, { key: keyKey, path: keyFile });

export function openOperationsPort(
  { config, metrics, readiness, logger }: ServerContext,
  identity: HttpIdentity | undefined,
) {
  const { address, port } = config.ops;
  return startOperationsPort({
    metrics: () => metrics.registry.metrics(),
    metricsContentType: metrics.registry.contentType,
    reasons: () => readiness.reasons(),
    onRefused: (reason) => metrics.httpRefused('operations', reason),
    logger,
    options: { address, port, ...(identity === undefined ? {} : { identity }) },
  });
}

import { bundleEndpointPlugin, FederationFront, type HttpIdentity } from '../server/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';

/**
 * Our bundle endpoints for foreign trust domains. That of the profile https_spiffe is opened once the
 * server has a certificate. `web`: the operator's certificate for the other one.
 */
export async function openFederation(
  context: ServerContext,
  authorities: AuthorityStage,
  web: HttpIdentity | undefined,
): Promise<FederationFront> {
  const front = federationFront(context, authorities);
  if (web !== undefined) await front.open('web', web);
  return front;
}

const federationFront = (
  { config, clock, logger, metrics }: ServerContext,
  { registry }: AuthorityStage,
): FederationFront =>
  new FederationFront(
    bundleEndpointPlugin({
      document: () => registry.bundle().document,
      refreshHintSeconds: config.issuance.bundleRefreshHintSeconds,
    }),
    {
      web: config.federation.web,
      spiffe: config.federation.spiffe,
      limits: { ...config.http, connections: config.federation.connections },
    },
    {
      clock,
      logger: logger.child({ part: 'federation' }),
      observe: {
        answered: (plugin, status) => metrics.httpAnswered(plugin, status),
        refused: (listener, reason) => metrics.httpRefused(listener, reason),
      },
    },
  );

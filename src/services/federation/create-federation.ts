import type { Access } from '../callers/access.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import type { ServicesDependencies } from '../services-dependencies.ts';
import { endpointClient } from './endpoint-client.ts';
import { FederationService } from './federation-service.ts';
import type { ForeignBundles } from './foreign-bundles.ts';
import { FederationPoller } from './poller.ts';

export interface FederationParts {
  readonly federation: FederationService;
  readonly poller: FederationPoller;
}

export function createFederation(
  dependencies: ServicesDependencies,
  {
    foreign,
    access,
    refusals,
  }: {
    readonly foreign: ForeignBundles;
    readonly access: Access;
    readonly refusals: RefusalLog;
  },
): FederationParts {
  const { store, authorities, clock, random, logger, settings, held, onPolled } = dependencies;
  const { trustDomain, federation } = settings;
  const shared = { federation: store.federation, foreign, authorities, trustDomain, clock, random };
  const poller = new FederationPoller({
    ...shared,
    audit: store.audit,
    fetch: endpointClient({ clock, timeoutMs: federation.timeoutSeconds * 1000 }),
    limits: federation,
    held,
    logger: logger.child({ part: 'federation' }),
    polled: onPolled,
  });
  return { poller, federation: new FederationService({ ...shared, poller, access, refusals }) };
}

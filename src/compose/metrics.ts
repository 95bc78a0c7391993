import type { Connections } from '../server/index.ts';
import { pendingByKind } from '../services/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import type { IssuingStage } from './issuing.ts';
import type { ServiceStage } from './services.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
  readonly service: ServiceStage;
}

/** The gauges that ask the stages when metrics are scraped. */
export function watchServer(
  { context, tokens, records, authorities, issuing, service }: Below,
  connections: Connections,
): void {
  const { clock, metrics, readiness } = context;
  const { store } = records;
  metrics.watchServer({
    expiryHorizon: () => ({
      server: issuing.certificate.notAfter(),
      ...Object.fromEntries(
        issuing.fronts.map(({ type, certificate }) => [`server/${type}`, certificate.notAfter()]),
      ),
      ...Object.fromEntries(
        [...(authorities.ocsp?.signerEnds() ?? [])].map(([id, end]) => [`ocsp-signer/${id}`, end]),
      ),
      ...Object.fromEntries(
        authorities.registry
          .all()
          .filter(
            ({ notAfter, state }) => notAfter > 0 && ['published', 'active', 'old'].includes(state),
          )
          .map(({ kind, id, notAfter }) => [`${kind}/${id}`, notAfter]),
      ),
    }),
    hsm: () => tokens.gate.signers.state(),
    connections: () => connections.size,
    agentsConnected: () => service.services.sync.connectedCount(),
    agentsRefusingBundle: () => service.services.sync.bundleRefusals.size,
    ready: () => readiness.ready,
    certificatesByState: () => store.certificates.countByState(),
    relationships: () => service.services.federation.views(),
    targetsByState: () => service.services.targets.byState(),
    targetHolds: () => service.services.targets.holding(),
    pendingOperations: () => pendingByKind(store.approvals, clock.now()),
  });
}

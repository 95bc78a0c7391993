import type { ServicesDependencies } from '../services-dependencies.ts';
import { VantageAgents } from '../acme/vantage/vantage-agents.ts';
import type { ForeignBundles } from '../federation/foreign-bundles.ts';
import { FederatedSource } from './federated.ts';
import { ReplacementSource } from './replacements.ts';
import { SyncSource } from './source.ts';
import type { SyncDependencies } from './sync-dependencies.ts';
import { SyncHub } from './sync-hub.ts';

export function createSync(
  dependencies: ServicesDependencies,
  {
    callers,
    doubles,
    nodeSets,
    refusals,
    targets,
    onRevision,
    foreign,
  }: Pick<
    SyncDependencies,
    'callers' | 'doubles' | 'nodeSets' | 'refusals' | 'targets' | 'onRevision'
  > & { readonly foreign: ForeignBundles },
): SyncHub {
  const { store, authorities, clock, logger, settings } = dependencies;
  const federated = new FederatedSource({
    entries: store.entries,
    objects: store.objects,
    foreign,
  });
  const source = createSource(dependencies, federated);
  return new SyncHub({
    source,
    federated,
    agentBundle: dependencies.agentBundle,
    handshakes: dependencies.handshakes,
    crls: dependencies.crls,
    checkpoints: dependencies.checkpoints,
    onHeld: () => dependencies.rotation.controller.poke(),
    entries: store.entries,
    agents: store.agents,
    certificates: store.certificates,
    objects: store.objects,
    issuance: store.issuance,
    meta: store.meta,
    authorities,
    nodeSets,
    callers,
    audit: store.audit,
    doubles,
    refusals,
    targets,
    vantage: new VantageAgents(dependencies),
    onRevision,
    clock,
    logger,
    settings,
  });
}

function createSource(
  { store, authorities, crls, clock, settings, tenantOwners }: ServicesDependencies,
  federated: FederatedSource,
): SyncSource {
  const { taintWindowSeconds } = settings;
  const { certificates, revocations, blockedKeys } = store;
  return new SyncSource({
    owners: () => tenantOwners.current(),
    ...{ federated, authorities, crls, clock, taintWindowSeconds },
    entries: store.entries,
    bundles: store.bundles,
    meta: store.meta,
    replacements: new ReplacementSource({
      ...{ certificates, revocations, blockedKeys, authorities, clock, taintWindowSeconds },
    }),
  });
}

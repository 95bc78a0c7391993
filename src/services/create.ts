import type { Clock } from '../common/runtime/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import { crlReach, endedStates } from '../domain/index.ts';
import type { Ledger } from '../ledger/index.ts';
import { AccountService } from './acme/account-service.ts';
import { ExchangeService } from './acme/exchange-service.ts';
import { EabKeyService } from './acme/eab-key-service.ts';
import { OrderService } from './acme/order-service.ts';
import { Access } from './callers/access.ts';
import { BackupService } from './inspection/backup-service.ts';
import { AgentDoubles } from './agents/agent-doubles.ts';
import { AgentEvidence } from './agents/agent-evidence.ts';
import { AgentService } from './agents/agent-service.ts';
import { AuthoritySourcingService } from './authorities/sourcing-service.ts';
import { AuditService } from './inspection/audit-service.ts';
import { ApprovalSights, DualControl } from './approvals/index.ts';
import { CallerRegistry } from './callers/caller-registry.ts';
import { DelegateStreams } from './callers/delegate-streams.ts';
import type { Services } from './services.ts';
import { issuingServices } from './create-issuing.ts';
import { DelegationService } from './registration/delegation-service.ts';
import { EntryService } from './registration/entry-service.ts';
import { AuthorityViewService } from './inspection/authority-view-service.ts';
import { CertificateService } from './inspection/certificate-service.ts';
import { StatusService } from './inspection/status-service.ts';
import { MintService } from './issuing/mint-service.ts';
import { NamesService } from './issuing/names-service.ts';
import { NodeSetIndex } from './agents/node-set-index.ts';
import { RefusalLog } from './callers/refusal-log.ts';
import { RestoreService } from './inspection/restore-service.ts';
import { RevocationService } from './inspection/revocation-service.ts';
import { KeyService } from './revoking/key-service.ts';
import { pulledBy, type PulledHolders } from './revoking/pulls.ts';
import { Revoker } from './revoking/revoker.ts';
import { SelectionService } from './revoking/selection-service.ts';
import type { ServicesDependencies } from './services-dependencies.ts';
import { PolicyService } from './policies/policy-service.ts';
import { PolicyReviewService } from './policies/review-service.ts';
import { RoleService } from './registration/role-service.ts';
import { checkServiceSettings, type ServiceSettings } from './settings.ts';
import { RotationService } from './authorities/rotation-service.ts';
import { createFederation } from './federation/create-federation.ts';
import type { FederationService } from './federation/federation-service.ts';
import { ForeignBundles } from './federation/foreign-bundles.ts';
import type { FederationPoller } from './federation/poller.ts';
import { createSync } from './sync/create-sync.ts';
import type { SyncHub } from './sync/sync-hub.ts';
import { createTargets } from './targets/create-targets.ts';
import { createWatch } from './watching/create-watch.ts';
import { TenantHoldings } from './tenants/tenant-holdings.ts';
import { TenantService } from './tenants/tenant-service.ts';
import { TokenService } from './attestation/join-token/tokens.ts';

export interface RunningServices extends Services {
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly sync: SyncHub;
  readonly poller: FederationPoller;
  readonly federation: FederationService;
  readonly revoker: Revoker;
  /** Whether an agent with this ID has a sync session, or a control plane watches. */
  isConnected(id: string): boolean;
  /**
   * Ends all sync sessions, stops listening to the store, and writes the pending summary of
   * refusals.
   */
  close(): Promise<void>;
}

/**
 * Creates all services over one store and one issuer.
 *
 * @throws PkiError CONFIG_INVALID for settings that contradict each other
 */
export function createServices(dependencies: ServicesDependencies): RunningServices {
  checkServiceSettings(dependencies.settings);
  const common = createCommon(dependencies);
  const { callers, refusals, nodeSets } = common;
  const foreign = new ForeignBundles({
    federation: dependencies.store.federation,
    onRevision: common.onRevision,
    logger: dependencies.logger,
  });
  const { federation, poller } = createFederation(dependencies, { ...common, foreign });
  const { targets, ...targetParts } = createTargets(dependencies, common);
  const sync = createSync(dependencies, {
    ...common,
    targets: targetParts.sessions,
    foreign,
  });
  const delegateStreams = new DelegateStreams({ ...common, clock: dependencies.clock });
  const watch = createWatch(dependencies, delegateStreams);
  const issuing = issuingServices(dependencies, common, delegateStreams);
  return {
    callers,
    refusals,
    nodeSets,
    sync,
    targets,
    watch,
    federation,
    poller,
    ...issuing,
    ...registrationServices(dependencies, common, sync),
    ...acmeServices(dependencies, common),
    ...approvalServices(dependencies, common),
    ...authorityServices(dependencies, common),
    ...inspectionServices(dependencies, common, sync),
    ...revokingServices(dependencies, common, pulledBy(sync, watch)),
    isConnected: (id) => sync.isConnected(id) || watch.isConnected(id),
    async close() {
      await poller.close();
      foreign.close();
      sync.close();
      targetParts.close();
      delegateStreams.close();
      watch.close();
      callers.close();
      await issuing.downstream.close();
      nodeSets.close();
      await refusals.flush();
    },
  };
}

/** Parts that several services use. */
interface Common {
  readonly access: Access;
  readonly callers: CallerRegistry;
  readonly doubles: AgentDoubles;
  readonly nodeSets: NodeSetIndex;
  readonly refusals: RefusalLog;
  readonly onRevision: Ledger['onRevision'];
  /** Parts that every administration service uses. */
  readonly shared: {
    readonly access: Access;
    readonly refusals: RefusalLog;
    readonly clock: Clock;
    readonly settings: ServiceSettings;
  };
}

function createCommon(dependencies: ServicesDependencies): Common {
  const { store, authorities, inventory, clock, logger, settings } = dependencies;
  const onRevision: Ledger['onRevision'] = (listener) => store.onRevision(listener);
  const refusals = new RefusalLog({
    audit: store.audit,
    clock,
    logger,
    rate: settings.refusalRate,
  });
  // created before the hub, so that in each turn the cached node sets are dropped before the hub
  // reads them
  const nodeSets = new NodeSetIndex({
    entries: store.entries,
    objects: store.objects,
    trustDomain: settings.trustDomain,
    clock,
    onRevision,
  });
  const doubles = new AgentDoubles({
    audit: store.audit,
    clock,
    logger,
    onDouble: (how) => dependencies.onDouble(how),
  });
  const callers = new CallerRegistry({
    doubles,
    certificates: store.certificates,
    revocations: store.revocations,
    blockedKeys: store.blockedKeys,
    agents: store.agents,
    delegations: store.delegations,
    entries: store.entries,
    objects: store.objects,
    authorities,
    onRevision,
    clock,
    refusals,
    inventory,
    localUids: new Set([0, settings.serverUid, ...settings.adminUids]),
  });
  const access = new Access(store.roles, settings.trustDomain, () =>
    dependencies.tenantOwners.known(),
  );
  const shared = { access, refusals, clock, settings };
  return { access, callers, doubles, nodeSets, refusals, onRevision, shared };
}

function registrationServices(
  dependencies: ServicesDependencies,
  { access, callers, doubles, nodeSets, refusals, shared }: Common,
  sync: SyncHub,
) {
  const { store, authorities, clock, random } = dependencies;
  return {
    entries: new EntryService({
      ...shared,
      entries: store.entries,
      agentNames: dependencies.attestors,
      isTokenIssuer: (name) => dependencies.verifier.isIssuer(name),
    }),
    agents: new AgentService({
      agents: store.agents,
      entries: store.entries,
      certificates: store.certificates,
      objects: store.objects,
      nodeSets,
      sessions: sync,
      evidence: new AgentEvidence({ audit: store.audit, attestors: dependencies.attestors }),
      doubles,
      audit: store.audit,
      callers,
      access,
      refusals,
      clock,
    }),
    tokens: new TokenService({
      ...shared,
      tokens: store.tokens,
      attestors: dependencies.attestors,
      authorities,
      random,
      shownRoot: () => dependencies.facts.serverRootDer(),
    }),
    delegations: new DelegationService({ ...shared, delegations: store.delegations, callers }),
    roles: new RoleService({ roles: store.roles, access, refusals, clock }),
    tenants: new TenantService({
      ...shared,
      ...{ tenants: store.tenants, entries: store.entries, delegations: store.delegations },
      ...{ roles: store.roles, quotas: store.quotas, owners: dependencies.tenantOwners },
      holdings: new TenantHoldings({
        ...{ entries: store.entries, certificates: store.certificates, acme: store.acme, clock },
        ...{ delegations: store.delegations, roles: store.roles, audit: store.audit },
        facts: dependencies.logFacts,
      }),
    }),
    policies: new PolicyService({
      policies: store.issuancePolicies,
      inForce: dependencies.policyInForce,
      access,
      refusals,
      clock,
    }),
  };
}

function acmeServices(
  { store, acmeMac, verifier, onExchanged }: ServicesDependencies,
  { shared }: Common,
) {
  const { eabKeys, accounts, orders } = store.acme;
  const { tenants, audit, tokenUses, entries, delegations, objects } = store;
  return {
    eabKeys: new EabKeyService({
      ...{ ...shared, eabKeys, tenants, audit, mac: acmeMac },
      isIssuer: (name) => verifier.isIssuer(name, 'acme'),
    }),
    eabExchange: new ExchangeService({
      ...{ ...shared, eabKeys, mac: acmeMac, tenants, tokenUses, entries, delegations, objects },
      ...{ verifier, onExchanged },
    }),
    acmeAccounts: new AccountService({ ...shared, accounts }),
    acmeOrders: new OrderService({ ...shared, orders }),
  };
}

function approvalServices(
  { store, clock, logger, settings, untrusted }: ServicesDependencies,
  { access, callers, refusals }: Common,
) {
  const dualControl = new DualControl({
    store: store.approvals,
    meta: store.meta,
    callers,
    access,
    refusals,
    trustDomain: settings.trustDomain,
    untrusted,
    clock,
    logger,
  });
  return {
    approvals: dualControl,
    gate: dualControl,
    sights: new ApprovalSights({
      entries: store.entries,
      roles: store.roles,
      approvals: store.approvals,
      objects: store.objects,
      trustDomain: settings.trustDomain,
    }),
  };
}

function authorityServices(dependencies: ServicesDependencies, { shared }: Common) {
  const { store, authorities, settings } = dependencies;
  return {
    authorities: new AuthorityViewService({
      ...shared,
      store: store.authorities,
      certificates: store.certificates,
      authorities,
    }),
    authoritySources: new AuthoritySourcingService({
      ...shared,
      sources: dependencies.sources,
      downstream: dependencies.downstream,
      cross: dependencies.cross,
      crossInChains: dependencies.crossInChains,
      crls: dependencies.crls,
    }),
    crls: {
      standings: () => dependencies.crls.standings(),
      handedOut: () => dependencies.crls.set().length > 0,
      reach: () => crlReach(dependencies.crls.set()),
    },
    rotation: new RotationService({
      ...shared,
      ...dependencies.rotation,
      store,
      defaultTaintWindowSeconds: settings.taintWindowSeconds,
    }),
  };
}

function revokingServices(
  dependencies: ServicesDependencies,
  { callers, shared }: Common,
  pulls: PulledHolders,
) {
  const { store, authorities, inventory } = dependencies;
  const { audit, blockedKeys, certificates, revocations } = store;
  const revoker = new Revoker({
    ...{ revocations, blockedKeys, callers, pulls },
    clock: shared.clock,
  });
  const parts = { ...shared, certificates, revocations, inventory, authorities, revoker };
  return {
    revoker,
    revocations: new RevocationService({
      ...parts,
      clockBelieved: dependencies.clockBelieved,
    }),
    selections: new SelectionService({
      ...{ ...parts, audit, log: store.log },
      recorded: dependencies.recorded,
      facts: dependencies.logFacts,
    }),
    keys: new KeyService({
      ...{ ...parts, blockedKeys, callers },
      isLivingAuthorityKey: (sha256) =>
        authorities
          .all()
          .some(
            ({ state, spkiDer }) =>
              !endedStates.includes(state) && spkiDer !== null && sha256Hex(spkiDer) === sha256,
          ),
      pulls,
    }),
  };
}

function inspectionServices(dependencies: ServicesDependencies, { shared }: Common, sync: SyncHub) {
  const { store, issuer, authorities, logger, facts } = dependencies;
  return {
    certificates: new CertificateService({
      ...shared,
      certificates: store.certificates,
      entries: store.entries,
    }),
    mint: new MintService({ ...shared, issuer, authorities }),
    names: new NamesService({ ...shared, issuer, authorities }),
    backup: new BackupService({ ...shared, store, logger }),
    restore: new RestoreService({ ...shared, store, facts: dependencies.restoreFacts }),
    policyReviews: new PolicyReviewService({
      ...shared,
      policies: store.issuancePolicies,
      audit: store.audit,
      log: store.log,
      certificates: store.certificates,
      revocations: store.revocations,
      facts: dependencies.logFacts,
    }),
    audit: new AuditService({
      ...shared,
      audit: store.audit,
      log: store.log,
      certificates: store.certificates,
      evidence: store.evidence,
      facts: dependencies.logFacts,
    }),
    status: new StatusService({
      ...shared,
      facts,
      meta: store.meta,
      certificates: store.certificates,
      sessions: sync,
    }),
  };
}

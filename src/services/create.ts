import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import type { Authorities, Issuer } from '../issuance/contract.ts';
import type { CrlPublisher } from '../issuance/crl-publisher.ts';
import type { Ledger } from '../ledger/index.ts';
import { Access } from './callers/access.ts';
import { BackupService } from './inspection/backup-service.ts';
import { AgentService } from './agents/agent-service.ts';
import {
  AuthoritySourcingService,
  type AuthoritySourcingDependencies,
} from './authorities/sourcing-service.ts';
import { NodeAttestationService } from './attestation/service.ts';
import { AuditService, type LogFacts } from './inspection/audit-service.ts';
import { ApprovalSights, DualControl } from './approvals/index.ts';
import { CallerRegistry } from './callers/caller-registry.ts';
import type { Services } from './services.ts';
import { DelegationService } from './registration/delegation-service.ts';
import { DownstreamService } from './issuing/downstream-service.ts';
import type { NodeAttestors } from './attestation/node-attestors.ts';
import { Enrolment } from './attestation/enrolment.ts';
import { EntryService } from './registration/entry-service.ts';
import {
  AuthorityViewService,
  CertificateService,
  StatusService,
  type ServerFacts,
} from './inspection/inventory.ts';
import type { HandshakeLedger } from './sync/handshakes.ts';
import type { InventoryProof } from './callers/inventory-proof.ts';
import { MintService } from './issuing/mint-service.ts';
import { NodeSetIndex } from './agents/node-set-index.ts';
import { RefusalLog } from './callers/refusal-log.ts';
import { RestoreService, type RestoreFacts } from './inspection/restore-service.ts';
import { RevocationService } from './inspection/revocation-service.ts';
import { RoleService } from './registration/role-service.ts';
import { checkServiceSettings, type ServiceSettings } from './settings.ts';
import { RotationService, type RotationDependencies } from './authorities/rotation-service.ts';
import { SigningService } from './issuing/signing-service.ts';
import { SvidService } from './issuing/svid-service.ts';
import { SyncSource, type Crls } from './sync/source.ts';
import { SyncHub, type SyncDependencies } from './sync/sync-hub.ts';
import { TokenService } from './attestation/join-token/tokens.ts';

export interface ServicesDependencies {
  readonly store: Ledger;
  readonly issuer: Issuer;
  readonly authorities: Authorities;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly settings: ServiceSettings;
  readonly attestors: NodeAttestors;
  readonly facts: ServerFacts;
  readonly logFacts: LogFacts;
  readonly inventory: Pick<InventoryProof, 'require' | 'downstream'>;
  readonly restoreFacts: RestoreFacts;
  readonly checkpoints: SyncDependencies['checkpoints'];
  readonly handshakes: HandshakeLedger;
  readonly crls: Crls & Pick<CrlPublisher, 'importExternal' | 'standings'>;
  readonly rotation: Pick<RotationDependencies, 'controller' | 'guard' | 'canUse'>;
  readonly sources: AuthoritySourcingDependencies['sources'];
  readonly downstream: AuthoritySourcingDependencies['downstream'];
  /** Whether nothing may be decided on the strength of the database for now. */
  readonly held: () => boolean;
  readonly cross: AuthoritySourcingDependencies['cross'];
  readonly crossInChains: boolean;
}

export interface RunningServices extends Services {
  readonly sync: SyncHub;
  /** Ends all sync sessions, stops listening, and writes the pending summary of refusals. */
  close(): Promise<void>;
}

/**
 * All services over one store and issuer. Throws CONFIG_INVALID for settings that contradict each
 * other.
 */
export function createServices(parts: ServicesDependencies): RunningServices {
  checkServiceSettings(parts.settings);
  const common = createCommon(parts);
  const { callers, refusals, nodeSets } = common;
  const sync = createSync(parts, common);
  const issuing = issuingServices(parts, common);
  return {
    callers,
    refusals,
    sync,
    ...issuing,
    ...registrationServices(parts, common, sync),
    ...approvalServices(parts, common),
    ...authorityServices(parts, common),
    ...inspectionServices(parts, common, sync),
    async close() {
      sync.close();
      callers.close();
      issuing.signing.close();
      await issuing.downstream.close();
      nodeSets.close();
      await refusals.flush();
    },
  };
}

/** What several services use. */
interface Common {
  readonly access: Access;
  readonly callers: CallerRegistry;
  readonly nodeSets: NodeSetIndex;
  readonly refusals: RefusalLog;
  readonly onRevision: Ledger['onRevision'];
  /** What every service of administration uses. */
  readonly shared: {
    readonly access: Access;
    readonly refusals: RefusalLog;
    readonly clock: Clock;
    readonly settings: ServiceSettings;
  };
}

function createCommon(parts: ServicesDependencies): Common {
  const { store, authorities, inventory, clock, logger, settings } = parts;
  const onRevision: Ledger['onRevision'] = (listener) => store.onRevision(listener);
  const refusals = new RefusalLog({
    audit: store.audit,
    clock,
    logger,
    rate: settings.refusalRate,
  });
  // before the hub, so that in each turn the node sets are forgotten before the hub asks for them
  const nodeSets = new NodeSetIndex({
    entries: store.entries,
    objects: store.objects,
    trustDomain: settings.trustDomain,
    clock,
    onRevision,
  });
  const callers = new CallerRegistry({
    certificates: store.certificates,
    revocations: store.revocations,
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
  const access = new Access(store.roles, settings.trustDomain, store.objects);
  const shared = { access, refusals, clock, settings };
  return { access, callers, nodeSets, refusals, onRevision, shared };
}

function createSync(
  parts: ServicesDependencies,
  { callers, nodeSets, refusals, onRevision }: Common,
): SyncHub {
  const { store, authorities, clock, logger, settings } = parts;
  const source = new SyncSource({
    entries: store.entries,
    bundles: store.bundles,
    meta: store.meta,
    authorities,
    clock,
    taintWindowSeconds: settings.taintWindowSeconds,
    crls: parts.crls,
  });
  return new SyncHub({
    source,
    handshakes: parts.handshakes,
    crls: parts.crls,
    checkpoints: parts.checkpoints,
    onHeld: () => parts.rotation.controller.poke(),
    entries: store.entries,
    agents: store.agents,
    certificates: store.certificates,
    objects: store.objects,
    issuance: store.issuance,
    meta: store.meta,
    authorities,
    nodeSets,
    callers,
    refusals,
    onRevision,
    clock,
    logger,
    settings,
  });
}

/** Who gets certificates: nodes, their workloads, delegates, CAs below. */
function issuingServices(parts: ServicesDependencies, common: Common) {
  const { store, issuer, authorities, clock, random, settings } = parts;
  const { callers, nodeSets, refusals, onRevision } = common;
  const enrolment = new Enrolment({
    agents: store.agents,
    objects: store.objects,
    issuer,
    authorities,
    callers,
    refusals,
    clock,
    settings,
  });
  const signing = new SigningService({
    delegations: store.delegations,
    entries: store.entries,
    objects: store.objects,
    authorities,
    issuer,
    refusals,
    clock,
    settings,
    onRevision,
  });
  return {
    attestation: new NodeAttestationService({
      bundles: store.bundles,
      agents: store.agents,
      certificates: store.certificates,
      revocations: store.revocations,
      objects: store.objects,
      inventory: parts.inventory,
      tokens: store.tokens,
      attestors: parts.attestors,
      enrolment,
      refusals,
      clock,
      random,
      settings,
    }),
    svids: new SvidService({
      agents: store.agents,
      entries: store.entries,
      objects: store.objects,
      nodeSets,
      issuer,
      refusals,
      clock,
      settings,
    }),
    signing,
    downstream: createDownstream(parts, common),
  };
}

function createDownstream(
  parts: ServicesDependencies,
  { nodeSets, refusals, onRevision }: Common,
): DownstreamService {
  const { store, authorities, inventory, clock, logger, settings } = parts;
  return new DownstreamService({
    certificates: store.certificates,
    entries: store.entries,
    agents: store.agents,
    objects: store.objects,
    nodeSets,
    inventory,
    revocations: store.revocations,
    authorities,
    sign: parts.downstream,
    held: parts.held,
    onRevision,
    refusals,
    clock,
    logger,
    settings,
  });
}

function registrationServices(
  parts: ServicesDependencies,
  { access, callers, nodeSets, refusals, shared }: Common,
  sync: SyncHub,
) {
  const { store, authorities, clock, random } = parts;
  return {
    entries: new EntryService({ ...shared, entries: store.entries, agentNames: parts.attestors }),
    agents: new AgentService({
      agents: store.agents,
      entries: store.entries,
      certificates: store.certificates,
      nodeSets,
      sessions: sync,
      callers,
      access,
      refusals,
      clock,
    }),
    tokens: new TokenService({
      ...shared,
      tokens: store.tokens,
      attestors: parts.attestors,
      authorities,
      random,
      shownRoot: () => parts.facts.serverRootDer(),
    }),
    delegations: new DelegationService({ ...shared, delegations: store.delegations, callers }),
    roles: new RoleService({ roles: store.roles, access, refusals, clock }),
  };
}

function approvalServices(
  { store, clock, logger, settings }: ServicesDependencies,
  { access, callers, refusals }: Common,
) {
  const dualControl = new DualControl({
    store: store.approvals,
    meta: store.meta,
    callers,
    access,
    refusals,
    trustDomain: settings.trustDomain,
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

function authorityServices(parts: ServicesDependencies, { shared }: Common) {
  const { store, authorities, settings } = parts;
  return {
    authorities: new AuthorityViewService({
      ...shared,
      store: store.authorities,
      certificates: store.certificates,
      authorities,
    }),
    authoritySources: new AuthoritySourcingService({
      ...shared,
      sources: parts.sources,
      downstream: parts.downstream,
      cross: parts.cross,
      crossInChains: parts.crossInChains,
      crls: parts.crls,
    }),
    crls: {
      standings: () => parts.crls.standings(),
      handedOut: () => parts.crls.set().length > 0,
    },
    rotation: new RotationService({
      ...shared,
      ...parts.rotation,
      store,
      defaultTaintWindowSeconds: settings.taintWindowSeconds,
    }),
  };
}

function inspectionServices(
  parts: ServicesDependencies,
  { callers, shared }: Common,
  sync: SyncHub,
) {
  const { store, issuer, authorities, inventory, logger, facts } = parts;
  return {
    certificates: new CertificateService({ ...shared, certificates: store.certificates }),
    revocations: new RevocationService({
      ...shared,
      certificates: store.certificates,
      revocations: store.revocations,
      callers,
      inventory,
      authorities,
    }),
    mint: new MintService({ ...shared, issuer, authorities }),
    backup: new BackupService({ ...shared, store, logger }),
    restore: new RestoreService({ ...shared, store, facts: parts.restoreFacts }),
    audit: new AuditService({
      ...shared,
      audit: store.audit,
      log: store.log,
      certificates: store.certificates,
      evidence: store.evidence,
      facts: parts.logFacts,
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

import type { AgentDoubles } from './agents/agent-doubles.ts';
import type { NodeSetIndex } from './agents/node-set-index.ts';
import { Enrolment } from './attestation/enrolment.ts';
import { LostSvids } from './attestation/lost-svids.ts';
import { ServerAbsences } from './attestation/server-absence.ts';
import { NodeAttestationService } from './attestation/service.ts';
import type { Access } from './callers/access.ts';
import type { CallerRegistry } from './callers/caller-registry.ts';
import type { DelegateStreams } from './callers/delegate-streams.ts';
import type { RefusalLog } from './callers/refusal-log.ts';
import { DownstreamService } from './issuing/downstream-service.ts';
import { SignStreamService } from './issuing/sign-stream-service.ts';
import { SigningService } from './issuing/signing-service.ts';
import { SvidService } from './issuing/svid-service.ts';
import type { Ledger } from '../ledger/index.ts';
import type { ServicesDependencies } from './services-dependencies.ts';
import { PipelineService } from './tokens/pipeline-service.ts';
import { SingleUse } from './tokens/single-use.ts';

/** Parts that the services which issue share with others. */
interface Common {
  readonly access: Access;
  readonly callers: CallerRegistry;
  readonly doubles: AgentDoubles;
  readonly nodeSets: NodeSetIndex;
  readonly refusals: RefusalLog;
  readonly onRevision: Ledger['onRevision'];
}

/** Services that issue: to nodes, their workloads, delegates, pipelines, and downstream CAs. */
export function issuingServices(
  dependencies: ServicesDependencies,
  common: Common,
  streams: DelegateStreams,
) {
  const { store, issuer, authorities, clock, settings } = dependencies;
  const { callers, nodeSets, refusals } = common;
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
    objects: store.objects,
    authorities,
    issuer,
    refusals,
    clock,
    settings,
  });
  return {
    attestation: createAttestation(dependencies, common, enrolment),
    svids: new SvidService({
      agents: store.agents,
      entries: store.entries,
      objects: store.objects,
      nodeSets,
      authorities,
      issuer,
      refusals,
      clock,
      settings,
    }),
    signing,
    signStreams: new SignStreamService({ signing, streams, refusals, clock }),
    downstream: createDownstream(dependencies, common),
    pipelines: createPipelines(dependencies, common),
  };
}

function createAttestation(
  dependencies: ServicesDependencies,
  { doubles, refusals }: Common,
  enrolment: Enrolment,
): NodeAttestationService {
  const { inventory, attestors, checkpoints, untrusted, logFacts: facts } = dependencies;
  const { authorities, clock, random, settings } = dependencies;
  const { agents, audit, blockedKeys, bundles, certificates, objects, revocations, tokens } =
    dependencies.store;
  return new NodeAttestationService({
    ...{ agents, blockedKeys, bundles, certificates, objects, revocations, tokens },
    ...{ inventory, attestors, checkpoints, untrusted, doubles, enrolment, refusals },
    ...{ clock, random, settings },
    singleUse: new SingleUse({
      tokenUses: dependencies.store.tokenUses,
      issuance: dependencies.store.issuance,
      ...{ objects, certificates, clock },
      trustDomain: settings.trustDomain,
    }),
    lostSvids: new LostSvids({
      ...{ objects, authorities, certificates, inventory, clock, settings },
    }),
    absences: new ServerAbsences({ audit, facts, clock }),
  });
}

function createPipelines(
  dependencies: ServicesDependencies,
  { access, callers, refusals }: Common,
): PipelineService {
  const { store, issuer, authorities, inventory, verifier, clock, settings } = dependencies;
  return new PipelineService({
    verifier,
    policy: dependencies.issuancePolicy,
    inventory,
    entries: store.entries,
    delegations: store.delegations,
    tokenUses: store.tokenUses,
    issuance: store.issuance,
    certificates: store.certificates,
    revocations: store.revocations,
    objects: store.objects,
    authorities,
    access,
    callers,
    issuer,
    refusals,
    clock,
    settings,
  });
}

function createDownstream(
  dependencies: ServicesDependencies,
  { nodeSets, refusals, onRevision }: Common,
): DownstreamService {
  const { store, authorities, inventory, clock, logger, settings } = dependencies;
  return new DownstreamService({
    certificates: store.certificates,
    entries: store.entries,
    agents: store.agents,
    objects: store.objects,
    nodeSets,
    inventory,
    revocations: store.revocations,
    authorities,
    sign: dependencies.downstream,
    held: dependencies.held,
    clockBelieved: dependencies.clockBelieved,
    onRevision,
    refusals,
    clock,
    logger,
    settings,
  });
}

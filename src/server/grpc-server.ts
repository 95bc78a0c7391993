import { Server, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import {
  HealthImplementation,
  protoPath as healthProtoPath,
  service as healthService,
} from 'grpc-health-check';
import { loadSync } from '@grpc/proto-loader';
import {
  adminContract,
  boundRequests,
  issuerContract,
  signingContract,
  type RequestOwner,
} from '../common/wire/index.ts';
import type { Services } from '../services/contract.ts';
import { Gate } from './gate.ts';
import { Guard, type GuardDependencies } from './guard.ts';
import { auditHandlers } from './handlers/audit.ts';
import { backupHandlers } from './handlers/backup.ts';
import { agentIssuerHandlers } from './handlers/agent-issuer.ts';
import {
  agentsHandlers,
  authoritiesHandlers,
  certificatesHandlers,
  statusHandlers,
  tokensHandlers,
} from './handlers/admin-inspection.ts';
import { authoritySourcesHandlers } from './handlers/admin-authority-sources.ts';
import { approvalsHandlers } from './handlers/admin-approvals.ts';
import {
  delegationsHandlers,
  entriesHandlers,
  rolesHandlers,
} from './handlers/admin-registration.ts';
import { nodeAttestationHandlers } from './handlers/node-attestation.ts';
import { signingHandlers } from './handlers/signing.ts';

export interface GrpcServerOptions {
  readonly messageBytes: number;
  readonly streamsPerConnection: number;
}

const metadataBytes = 16 * 1024;
/** Of all callers; one that holds little is served beyond it. */
const requestBytesInAll = 512 * 1024 * 1024;

export interface GrpcFront {
  readonly server: Server;
  /** For grpc.health.v1: the whole server under the empty name. */
  setServing(serving: boolean): void;
}

/**
 * Who may send messages at all has room for some of the largest, where the configuration makes them
 * larger.
 */
const roomFor = (
  owner: RequestOwner | undefined,
  messageBytes: number,
): RequestOwner | undefined =>
  owner === undefined || owner.bytes < 1024 * 1024
    ? owner
    : { name: owner.name, bytes: Math.max(owner.bytes, 4 * messageBytes) };

/** The gRPC server with every service behind the guard; listeners inject connections into it. */
export function buildGrpcServer(
  services: Services,
  guardDependencies: GuardDependencies,
  options: GrpcServerOptions,
): GrpcFront {
  const server = new Server({
    'grpc.max_receive_message_length': options.messageBytes,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': options.streamsPerConnection,
    // nobody reads its counters here, and it keeps a record of each call
    'grpc.enable_channelz': 0,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 20_000,
    interceptors: [
      boundRequests({
        metadataBytes,
        messageBytes: options.messageBytes,
        totalBytes: requestBytesInAll,
        ownerOf: (peer) =>
          roomFor(guardDependencies.connections.requestOwner(peer), options.messageBytes),
        onRefused: (peer, error) => guardDependencies.refusals.count('request', error.code),
      }),
    ],
  });
  const guard = new Guard({ ...guardDependencies, gate: new Gate(services.gate, services.sights) });
  services.gate.connect((method, request, caller, id) =>
    guard.execute(method, request, caller, id),
  );
  const guarded = {
    addService: (
      definition: ServiceDefinition,
      implementation: UntypedServiceImplementation,
    ): void => server.addService(definition, guard.service(definition, implementation)),
  };
  const issuer = issuerContract();
  const admin = adminContract();
  const signing = signingContract();
  const { NodeAttestation, AgentIssuer } = issuer.packages.meshca.issuer.v1;
  guarded.addService(NodeAttestation.service, nodeAttestationHandlers(guard, services.attestation));
  guarded.addService(AgentIssuer.service, agentIssuerHandlers(guard, services));
  guarded.addService(
    signing.packages.meshca.signing.v1.Signing.service,
    signingHandlers(guard, services),
  );
  const nouns = admin.packages.meshca.admin.v1;
  guarded.addService(nouns.Entries.service, entriesHandlers(guard, services.entries));
  guarded.addService(nouns.Delegations.service, delegationsHandlers(guard, services));
  guarded.addService(nouns.Roles.service, rolesHandlers(guard, services));
  guarded.addService(nouns.Agents.service, agentsHandlers(guard, services));
  guarded.addService(nouns.Tokens.service, tokensHandlers(guard, services));
  guarded.addService(nouns.Authorities.service, authoritiesHandlers(guard, services));
  guarded.addService(nouns.AuthoritySources.service, authoritySourcesHandlers(guard, services));
  guarded.addService(nouns.Certificates.service, certificatesHandlers(guard, services));
  guarded.addService(nouns.Audit.service, auditHandlers(guard, services));
  guarded.addService(
    nouns.Approvals.service,
    approvalsHandlers(guard, services, guardDependencies.clock),
  );
  guarded.addService(nouns.Server.service, {
    ...statusHandlers(guard, services),
    ...backupHandlers(guard, services),
  });
  const health = new HealthImplementation({ '': 'NOT_SERVING' });
  // both libraries only ever call addService
  health.addToServer({
    addService: (_: ServiceDefinition, implementation: UntypedServiceImplementation) =>
      guarded.addService(healthService, implementation),
  } as unknown as Server);
  const healthDefinition = loadSync(healthProtoPath, {
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  new ReflectionService({
    ...issuer.definition,
    ...signing.definition,
    ...admin.definition,
    ...healthDefinition,
  }).addToServer(guarded);
  return {
    server,
    setServing: (serving) => health.setStatus('', serving ? 'SERVING' : 'NOT_SERVING'),
  };
}

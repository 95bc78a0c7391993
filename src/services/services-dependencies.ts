import type { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import type { Authorities } from '../issuance/authorities.ts';
import type { CrlPublisher } from '../issuance/crl/publisher.ts';
import type { TokenMac } from '../hsm/mac-port.ts';
import type { RecordedIssuance } from '../issuance/index.ts';
import type { Issuer } from '../issuance/issuer.ts';
import type { Ledger } from '../ledger/index.ts';
import type { DoubleKind } from './agents/agent-doubles.ts';
import type { NodeAttestors } from './attestation/node-attestors.ts';
import type { AuthoritySourcingDependencies } from './authorities/sourcing-service.ts';
import type { RotationDependencies } from './authorities/rotation-service.ts';
import type { InventoryProof } from './callers/inventory-proof.ts';
import type { LogFacts } from './inspection/audit-service.ts';
import type { ServerFacts } from './inspection/status-service.ts';
import type { RestoreFacts } from './inspection/restore-service.ts';
import type { PolicyDependencies } from './policies/policy-service.ts';
import type { ServiceSettings } from './settings.ts';
import type { HandshakeLedger } from './sync/handshakes.ts';
import type { Crls } from './sync/source.ts';
import type { PipelineDependencies } from './tokens/pipeline-service.ts';
import type { TenantOwners } from './tenants/tenant-owners.ts';
import type { TokenVerifier } from './tokens/token-verifier.ts';
import type { SyncDependencies } from './sync/sync-dependencies.ts';

/** The dependencies of all services together. */
export interface ServicesDependencies {
  readonly store: Ledger;
  readonly issuer: Issuer;
  readonly recorded: Pick<RecordedIssuance, 'underWay'>;
  readonly policyInForce: PolicyDependencies['inForce'];
  /** The policy and the tenants behind it. */
  readonly issuancePolicy: PipelineDependencies['policy'];
  /** The tenants in force. */
  readonly tenantOwners: TenantOwners;
  readonly authorities: Authorities;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly settings: ServiceSettings;
  readonly attestors: NodeAttestors;
  readonly verifier: TokenVerifier;
  /** The secret key of ACME. */
  readonly acmeMac: TokenMac;
  readonly facts: ServerFacts;
  readonly logFacts: LogFacts;
  readonly inventory: Pick<
    InventoryProof,
    'require' | 'requireUnreleased' | 'refuse' | 'missing' | 'altered' | 'downstream'
  >;
  readonly restoreFacts: RestoreFacts;
  readonly checkpoints: SyncDependencies['checkpoints'];
  readonly agentBundle: SyncDependencies['agentBundle'];
  readonly handshakes: HandshakeLedger;
  readonly crls: Crls & Pick<CrlPublisher, 'importExternal' | 'standings'>;
  readonly rotation: Pick<RotationDependencies, 'controller' | 'guard' | 'canUse'>;
  readonly sources: AuthoritySourcingDependencies['sources'];
  readonly downstream: AuthoritySourcingDependencies['downstream'];
  /** True while the database is not trusted. Nothing is decided from it then. */
  readonly held: () => boolean;
  /** By a clock that is not believed nothing has expired, where that can not be taken back. */
  readonly clockBelieved: () => boolean;
  /** The refusal of callers while the database is not trusted. Undefined: it is. */
  readonly untrusted: () => PkiError | undefined;
  readonly cross: AuthoritySourcingDependencies['cross'];
  readonly crossInChains: boolean;
  /** Called when two processes were seen under one identity of an agent. */
  readonly onDouble: (how: DoubleKind) => void;
  /** Called with the end of each exchange for an EAB key: ok, or a code. */
  readonly onExchanged: (by: 'svid' | 'token', result: string) => void;
  /** Called with the outcome of each poll of a bundle endpoint: ok, or a code. */
  readonly onPolled: (trustDomain: string, outcome: string) => void;
}

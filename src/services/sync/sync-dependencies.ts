import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { Position } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerAgents, ObjectLedger } from '../../ledger/index.ts';
import type {
  AuditStore,
  CertificateStore,
  EntryStore,
  IssuanceStore,
  MetaStore,
} from '../../store/ports/index.ts';
import type { VantageAgents } from '../acme/vantage/vantage-agents.ts';
import type { AgentDoubles } from '../agents/agent-doubles.ts';
import type { NodeSetIndex } from '../agents/node-set-index.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import type { ServiceSettings } from '../settings.ts';
import type { TargetSessions } from '../targets/target-sessions.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { FederatedSource } from './federated.ts';
import type { HandshakeLedger } from './handshakes.ts';
import type { Crls, SyncSource } from './source.ts';

export interface SyncDependencies {
  readonly source: SyncSource;
  readonly federated: Pick<FederatedSource, 'onChange'>;
  readonly entries: Pick<EntryStore, 'changedParents'>;
  readonly agents: Pick<
    LedgerAgents,
    'byId' | 'seen' | 'use' | 'consumers' | 'replaceConsumers' | 'updateConsumers'
  >;
  readonly certificates: Pick<CertificateStore, 'lastNotAfter'>;
  readonly issuance: Pick<IssuanceStore, 'confirmReplaced'>;
  readonly objects: Pick<ObjectLedger, 'require'>;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly authorities: Pick<Authorities, 'onChange'>;
  /** Called at each hello with the sequence of the bundle that the agent holds. */
  readonly agentBundle: (sequence: number) => void;
  readonly handshakes: HandshakeLedger;
  readonly crls: Pick<Crls, 'onChange'>;
  readonly checkpoints: Checkpoints;
  /** Called when an agent connected, disconnected, or reported what its consumers hold. */
  readonly onHeld: () => void;
  readonly nodeSets: NodeSetIndex;
  readonly callers: Pick<CallerRegistry, 'onEnded' | 'stillStands' | 'announce'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly doubles: Pick<AgentDoubles, 'hello' | 'admit' | 'isRepeated' | 'gone' | 'takeRenewal'>;
  readonly refusals: RefusalLog;
  readonly targets: Pick<TargetSessions, 'open' | 'forget'>;
  readonly vantage: VantageAgents;
  readonly onRevision: (listener: (position: Position) => void) => () => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: ServiceSettings;
}

import type { Clock } from '../../../src/common/runtime/index.ts';
import { agentContract } from '../../../src/common/wire/index.ts';
import type { AgentStatus } from '../../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import type { ExplainRequest__Output } from '../../../src/common/wire/generated/meshca/agent/v1/ExplainRequest.ts';
import type { Attestor } from '../../attest/index.ts';
import {
  defaultLimits,
  type LocalServerLimits,
  type RefusalLog,
  type SocketApi,
} from '../../local-server/index.ts';
import type { EntryCache, Identity } from '../../ports/entries.ts';
import type { Standing } from '../../ports/svids.ts';
import type { FileTargets } from '../../ports/file-targets.ts';
import { explain } from './explain.ts';
import type { ForeignTrustDependencies } from './foreign-trust.ts';
import { targetMethods } from './targets.ts';

export interface LocalApiDependencies extends ForeignTrustDependencies {
  /** In addition to uid 0. The agent's own uid belongs in this list. */
  readonly allowedUids: readonly number[];
  readonly status: () => AgentStatus;
  readonly attestor: Attestor;
  readonly entries: EntryCache;
  readonly refusals: RefusalLog;
  /** What a workload would receive for an identity now. */
  readonly standing: (identity: Identity) => Standing;
  /** The names under which a proxy with these identities gets secrets. Empty: it gets none. */
  readonly secretNames: (identities: readonly Identity[]) => readonly string[];
  readonly targets: FileTargets;
  readonly clock: Clock;
}

/** Limits of the socket of this API, which few people use. */
export const localApiLimits: LocalServerLimits = {
  ...defaultLimits,
  connections: 64,
  connectionsPerUid: 64,
  connectionsPerCgroup: 64,
  streamsPerConnection: 8,
  requestBytes: 4096,
  requestBytesPerUid: 512 * 1024,
  requestBytesTotal: 1024 * 1024,
  idleMs: 300_000,
};

/**
 * The API for operators of the node. The mode of the socket restricts access, and the agent also
 * checks the uid of each caller.
 */
export function localApi(dependencies: LocalApiDependencies): SocketApi {
  return {
    name: 'local',
    metadata: {
      kind: 'none',
      reason: 'callers are admitted by uid, and no web page has one of them',
    },
    callers: { kind: 'operators', uids: new Set([0, ...dependencies.allowedUids]) },
    services: () => [
      {
        definition: agentContract().packages.meshca.agent.v1.AgentLocal.service,
        methods: {
          GetStatus: { kind: 'unary', run: async () => dependencies.status() },
          Explain: {
            kind: 'unary',
            run: (_session, request) => explain(dependencies, request as ExplainRequest__Output),
          },
          ...targetMethods(dependencies.targets),
        },
      },
    ],
  };
}

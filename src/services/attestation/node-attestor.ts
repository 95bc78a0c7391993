import type { z } from 'zod';
import type { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import type { AuditValue } from '../../domain/index.ts';
import type { JoinTokenStore } from '../../store/ports/index.ts';

/** What an attestor may use beside its own configuration. */
export interface NodeAttestorDependencies {
  readonly clock: Pick<Clock, 'now'>;
  readonly tokens: Pick<JoinTokenStore, 'byHash'>;
  /** A file that the configuration names; `key` says where. Throws CONFIG_INVALID. */
  readonly readFile: (path: string, key: string) => string;
}

/**
 * One way in which a node proves who it is. The core (`exchange.ts`) owns the nonce, the binding to
 * the server's certificate, marks of use, and the namespace; a type decides on its evidence alone.
 */
export interface NodeAttestor {
  /**
   * Judges the evidence, whose bytes only this type and its counterpart on the agent understand.
   * Throws PkiError, by convention ATTESTATION_FAILED. Up to then the node is a stranger: the error
   * must not tell him about agents.
   */
  start(evidence: Buffer): Promise<NodeAttestationStep>;
}

export type NodeAttestationStep =
  | ({ readonly kind: 'proven' } & NodeProof)
  | {
      readonly kind: 'challenge';
      /** For the agent's half of this type, beside the nonce of the core. */
      readonly payload: Buffer;
      /**
       * `message` is what the core bound to this exchange: nonce, trust domain, certificate of the
       * server, new key. The answer must prove possession over it. Called at most once. Throws
       * ATTESTATION_FAILED.
       */
      prove(answer: Buffer, message: Buffer): Promise<NodeProof>;
    };

export interface NodeProof {
  /** The name of the agent in the namespace of the type. */
  readonly agentName: string;
  readonly selectors: readonly Selector[];
  readonly use: EvidenceUse;
  /** For the record: what proved the node. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}

/** How often evidence is good; the core keeps the mark and compares it with the log. */
export type EvidenceUse =
  /** As often as the node likes: each time it proves a key. */
  | { readonly kind: 'repeatable' }
  /** Once for each agent: a second time only after an eviction, or with the same key and request. */
  | { readonly kind: 'once' }
  /** Once for each token: later uses with the same key get the same answer. */
  | { readonly kind: 'token'; readonly tokenId: string; readonly refused: () => PkiError };

/**
 * Where the agents of a type live. `own`: `/meshca/agent/TYPE/NAME`, selectors `TYPE:…`.
 * `operator`: an operator chose name and selectors, `/meshca/agent/NAME`.
 */
export type AgentNamespace = 'own' | 'operator';

export interface NodeAttestorType<Configuration = unknown> {
  /** Of `[a-z][a-z0-9_]*`, up to 32. */
  readonly type: string;
  readonly namespace: AgentNamespace;
  /** Whether attestation may give this name: one path segment in any case. */
  isAgentName(name: string): boolean;
  /** Stands in the configuration as `attestation.<type in camel case>`. */
  readonly configuration: z.ZodType<Configuration>;
  /** Undefined: the type is not configured, so this server does not offer it. */
  create(
    configuration: Configuration,
    dependencies: NodeAttestorDependencies,
  ): NodeAttestor | undefined;
}

/** Checks the type against its own configuration, then forgets which that is. */
export const nodeAttestorType = <Configuration>(
  type: NodeAttestorType<Configuration>,
): NodeAttestorType => ({
  ...type,
  create: (configuration, dependencies) =>
    type.create(type.configuration.parse(configuration), dependencies),
});

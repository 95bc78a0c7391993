import type { z } from 'zod';
import type { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import type { AuditValue } from '../../domain/index.ts';
import type { LedgerTokens } from '../../ledger/index.ts';
import type { TokenVerifier, VerifiedToken } from '../tokens/token-verifier.ts';

/** What an attestor may use, beside its own configuration. */
export interface NodeAttestorDependencies {
  readonly clock: Pick<Clock, 'now'>;
  readonly tokens: Pick<LedgerTokens, 'byHash'>;
  readonly verifier: Pick<TokenVerifier, 'verify'>;
  /**
   * Reads a file that the configuration names. `key` is the configuration key.
   *
   * @throws PkiError CONFIG_INVALID
   */
  readonly readFile: (path: string, key: string) => string;
}

/**
 * One way in which a node proves its identity. The core (`exchange.ts`) owns the nonce, the binding
 * to the server's certificate, the marks of use, and the namespace. A type only judges its
 * evidence.
 */
export interface NodeAttestor {
  /**
   * Judges the evidence. Only this type and its counterpart in the agent understand the bytes. The
   * node is still a stranger, so that an error must not tell it about agents. `peer` is its network
   * address.
   *
   * @throws PkiError, by convention ATTESTATION_FAILED
   */
  start(evidence: Buffer, peer: string): Promise<NodeAttestationStep>;
  /**
   * Judges evidence again that let an agent in. `recorded`: `NodeProof.recorded` of that time.
   * The caller keeps the list and asks with the same one, so that an attestor can remember by it.
   * Returns why it is revoked. Undefined: it is not, or nobody can tell. Absent: evidence of this
   * type is never revoked.
   */
  revoked?(recorded: readonly string[]): PkiError | undefined;
}

export type NodeAttestationStep =
  | ({ readonly kind: 'proven' } & NodeProof)
  | {
      readonly kind: 'challenge';
      /** For the agent's part of this type, beside the nonce of the core. */
      readonly payload: Buffer;
      /**
       * `message` is what the core bound to this exchange: nonce, trust domain, certificate of the
       * server, new key. The answer must prove possession of the key over it. Called at most once.
       *
       * @throws PkiError ATTESTATION_FAILED
       */
      prove(answer: Buffer, message: Buffer): Promise<NodeProof>;
    };

export interface NodeProof {
  /** The name of the agent in the namespace of the type. */
  readonly agentName: string;
  readonly selectors: readonly Selector[];
  readonly use: EvidenceUse;
  /** What proved the node, for the audit record. */
  readonly detail: Readonly<Record<string, AuditValue>>;
  /** What `revoked` needs later; it stands in the record of the attestation. */
  readonly recorded?: readonly string[];
  /** The node is the one that it says, and its evidence is not accepted any more. */
  readonly refusal?: PkiError | undefined;
}

/** How often evidence may be used. The core keeps the mark and compares it with the log. */
export type EvidenceUse =
  /** Any number of times: the node proves a key each time. */
  | { readonly kind: 'repeatable' }
  /** Once for each agent. A second use needs an eviction, or the same key and request. */
  | { readonly kind: 'once' }
  /** Once for each token of another issuer. A later use with the same key gets the same answer. */
  | {
      readonly kind: 'identity-token';
      readonly token: VerifiedToken;
      readonly refused: () => PkiError;
    }
  /** Once for each token. A later use with the same key gets the same answer. */
  | { readonly kind: 'token'; readonly tokenId: string; readonly refused: () => PkiError };

/**
 * The namespace of the agents of a type. `own`: the path `/meshca/agent/TYPE/NAME` and selectors
 * `TYPE:…`. `operator`: an operator chose name and selectors; the path is `/meshca/agent/NAME`.
 */
export type AgentNamespace = 'own' | 'operator';

export interface NodeAttestorType<Configuration = unknown> {
  /** Matches `[a-z][a-z0-9_]*`, at most 32 characters. */
  readonly type: string;
  readonly namespace: AgentNamespace;
  /** Whether attestation may assign this name. The caller checks that it is one path segment. */
  isAgentName(name: string): boolean;
  /** The schema of the configuration key `attestation.<type in camel case>`. */
  readonly configuration: z.ZodType<Configuration>;
  /** Returns undefined if the type is not configured. This server then does not offer it. */
  create(
    configuration: Configuration,
    dependencies: NodeAttestorDependencies,
  ): NodeAttestor | undefined;
}

/** Checks the type against its own configuration type, then erases that type. */
export const nodeAttestorType = <Configuration>(
  type: NodeAttestorType<Configuration>,
): NodeAttestorType => ({
  ...type,
  create: (configuration, dependencies) =>
    type.create(type.configuration.parse(configuration), dependencies),
});

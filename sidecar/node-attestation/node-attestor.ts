import type { z } from 'zod';
import type { Logger } from '../../src/common/runtime/index.ts';

/** One way in which this node proves who it is: the agent's half of a type of node attestation. */
export interface NodeAttestorType<Configuration = unknown> {
  /** As the server knows it. Of `[a-z][a-z0-9_]*`, up to 32. */
  readonly type: string;
  /** Stands in the configuration as `attestation.<type in camel case>`. */
  readonly configuration: z.ZodType<Configuration>;
  /**
   * What the operator gave this node to prove itself with, read anew at each attestation. Throws
   * NODE_CREDENTIAL_MISSING.
   */
  evidence(configuration: Configuration, logger: Logger): Promise<NodeEvidence>;
}

export interface NodeEvidence {
  /** For the server's half of the type. */
  readonly payload: Buffer;
  /**
   * Tells this evidence from other evidence of the type, without giving it away: a request whose
   * answer got lost is sent again, with its key, only for the same evidence.
   */
  readonly name: string;
  /** True: good for one key, so that showing it a second time only looks like an attack. */
  readonly once: boolean;
  /** Absent: this type knows no challenge. */
  answer?(challenge: NodeChallenge): Buffer | Promise<Buffer>;
}

export interface NodeChallenge {
  /**
   * What the answer must prove possession over. The core made it from what this end sees: nonce,
   * trust domain, certificate of the server, new key.
   */
  readonly message: Buffer;
  /** Of the server's half of the type. */
  readonly payload: Buffer;
}

/** Checks the type against its own configuration, then forgets which that is. */
export const nodeAttestorType = <Configuration>(
  type: NodeAttestorType<Configuration>,
): NodeAttestorType => ({
  ...type,
  evidence: (configuration, logger) =>
    type.evidence(type.configuration.parse(configuration), logger),
});

import type { z } from 'zod';
import type { Logger } from '../../src/common/runtime/index.ts';

/** The agent's half of a type of node attestation. */
export interface NodeAttestorType<Configuration = unknown> {
  /** The type's name at the server: `[a-z][a-z0-9_]*`, at most 32 characters. */
  readonly type: string;
  /** The schema of `attestation.<type in camel case>` in the configuration. */
  readonly configuration: z.ZodType<Configuration>;
  /**
   * Reads the evidence that the operator gave this node, anew at each attestation. Throws
   * NODE_CREDENTIAL_MISSING.
   */
  evidence(configuration: Configuration, logger: Logger): Promise<NodeEvidence>;
}

export interface NodeEvidence {
  /** For the server's half of the type. */
  readonly payload: Buffer;
  /**
   * Identifies this evidence without revealing it. A request whose answer got lost is repeated,
   * with its key, only for the same evidence.
   */
  readonly name: string;
  /**
   * Whether the evidence is valid for one key only. To show it a second time would look like an
   * attack.
   */
  readonly once: boolean;
  /** Absent: this type knows no challenge. */
  answer?(challenge: NodeChallenge): Buffer | Promise<Buffer>;
}

export interface NodeChallenge {
  /**
   * The message whose signature must prove possession. The core made it from what the agent sees:
   * nonce, trust domain, certificate of the server, new key.
   */
  readonly message: Buffer;
  /** Of the server's half of the type. */
  readonly payload: Buffer;
}

/** Checks a type against its own configuration type, and erases that type. */
export const nodeAttestorType = <Configuration>(
  type: NodeAttestorType<Configuration>,
): NodeAttestorType => ({
  ...type,
  evidence: (configuration, logger) =>
    type.evidence(type.configuration.parse(configuration), logger),
});

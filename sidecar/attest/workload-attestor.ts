import type { z } from 'zod';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { OverflowIds } from './overflow-ids.ts';
import type { Peer } from './peer.ts';
import type { ProcessCgroup, ProcessStatus } from './proc-parse.ts';
import type { Proc } from './proc.ts';

/** What an attestor may use in addition to its own configuration. */
export interface WorkloadAttestorDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly proc: Proc;
  readonly overflow: OverflowIds;
}

/**
 * What the core read of a process. Its IDs are those of the peer credentials, and none is mixed.
 * Facts that a type reads count only if the process is still the same afterwards, which the core
 * checks.
 */
export interface ProcessEvidence {
  readonly peer: Peer;
  readonly status: ProcessStatus;
  readonly cgroup: ProcessCgroup;
}

/** One type of workload attestation. It may keep facts by image, never by pid. */
export interface WorkloadAttestor extends Disposable {
  /**
   * Reads the cheap facts anew each time, without waiting. Must not touch the file system of a
   * workload. Throws PEER_UNVERIFIABLE.
   */
  start(evidence: ProcessEvidence): WorkloadFacts;
}

export interface WorkloadFacts {
  readonly selectors: readonly Selector[];
  /** For operators: why a costly fact is missing. */
  readonly problem?: string | undefined;
  /** Prefixes of selectors that `gather` might still give. Empty if all are known. */
  readonly costlyPrefixes: readonly string[];
  /**
   * Gathers the costly facts of these prefixes. Never rejects. Returns the function that keeps the
   * result; the core calls it after it has proven that the process is still the same.
   */
  gather(prefixes: ReadonlySet<string>): Promise<() => void>;
}

export interface WorkloadAttestorType<Configuration = unknown> {
  /** `[a-z][a-z0-9_]*`, at most 32 characters. */
  readonly type: string;
  /** The types of the selectors that it may give: its own name, and further names that it owns. */
  readonly selectorTypes: readonly string[];
  /** The schema of `workloadAttestation.<type>` in the configuration. */
  readonly configuration: z.ZodType<Configuration>;
  /** The configuration is undefined if the type is not configured. */
  create(
    configuration: Configuration,
    dependencies: WorkloadAttestorDependencies,
  ): WorkloadAttestor | undefined;
}

/** Checks a type against its own configuration type, and erases that type. */
export const workloadAttestorType = <Configuration>(
  type: WorkloadAttestorType<Configuration>,
): WorkloadAttestorType => ({
  ...type,
  create: (configuration, dependencies) =>
    type.create(type.configuration.parse(configuration), dependencies),
});

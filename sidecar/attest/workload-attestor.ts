import type { z } from 'zod';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { OverflowIds } from './overflow-ids.ts';
import type { Peer } from './peer.ts';
import type { ProcessCgroup, ProcessStatus } from './proc-parse.ts';
import type { Proc } from './proc.ts';

/** What an attestor may use beside its own configuration. */
export interface WorkloadAttestorDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly proc: Proc;
  readonly overflow: OverflowIds;
}

/**
 * What the core read of a process: its IDs are those of the peer credentials, none is mixed. Facts
 * that a type reads beside it count only if the process is still the same afterwards, which the core
 * checks.
 */
export interface ProcessEvidence {
  readonly peer: Peer;
  readonly status: ProcessStatus;
  readonly cgroup: ProcessCgroup;
}

/** One way to find out what a workload is. It may remember things by image, never by pid. */
export interface WorkloadAttestor extends Disposable {
  /**
   * The cheap facts, read anew each time and without waiting: nothing here touches the file system
   * of a workload. Throws PEER_UNVERIFIABLE.
   */
  start(evidence: ProcessEvidence): WorkloadFacts;
}

export interface WorkloadFacts {
  readonly selectors: readonly Selector[];
  /** Why a costly fact is missing, for operators. */
  readonly problem?: string | undefined;
  /** Prefixes of selectors that a longer look might still give; empty: all is known. */
  readonly costlyPrefixes: readonly string[];
  /**
   * The longer look, for some of these prefixes. Never rejects. Returns what keeps the result: the
   * core calls it once it has seen that the process is still the same.
   */
  gather(prefixes: ReadonlySet<string>): Promise<() => void>;
}

export interface WorkloadAttestorType<Configuration = unknown> {
  /** Of `[a-z][a-z0-9_]*`, up to 32. */
  readonly type: string;
  /** The types of the selectors that it may give: its own name, and names that belong to it. */
  readonly selectorTypes: readonly string[];
  /** Stands in the configuration as `workloadAttestation.<type>`. */
  readonly configuration: z.ZodType<Configuration>;
  /** Undefined: the type is not configured. */
  create(
    configuration: Configuration,
    dependencies: WorkloadAttestorDependencies,
  ): WorkloadAttestor | undefined;
}

/** Checks the type against its own configuration, then forgets which that is. */
export const workloadAttestorType = <Configuration>(
  type: WorkloadAttestorType<Configuration>,
): WorkloadAttestorType => ({
  ...type,
  create: (configuration, dependencies) =>
    type.create(type.configuration.parse(configuration), dependencies),
});

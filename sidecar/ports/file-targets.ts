import type { Result } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';

/** Targets of one group, on any number of nodes, change in two parts. */
export interface Rollout {
  readonly group: string;
  /** The share of the group that goes first, 0 to 1. */
  readonly canaryShare: number;
  /** How long the first part is watched (seconds). */
  readonly observeSeconds: number;
}

/**
 * - `waiting`: no entry gives an identity, or the server is away
 * - `staged`: a set is on disk and checked; it waits for its turn or for a hand
 * - `applying`, `proving`: `current` names the new set
 * - `proven`: every listener showed it
 * - `applied`: the same without listeners: the driver's word
 * - `rolled-back`: the set before is served again
 * - `failed`: not even that could be proven
 */
export type TargetState =
  | 'waiting'
  | 'staged'
  | 'applying'
  | 'proving'
  | 'proven'
  | 'applied'
  | 'rolling-back'
  | 'rolled-back'
  | 'failed';

export interface SetStatus {
  readonly name: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly current: boolean;
}

/** One target for lists, `explain` and reports. */
export interface TargetStatus {
  readonly name: string;
  readonly driver: string;
  readonly state: TargetState;
  /** Code and text of what stands in the way; empty in good order. */
  readonly reason: string;
  readonly next: string;
  /** Of the certificate, or of who owns a certificate for names. */
  readonly spiffeId: string;
  /** DNS names and addresses of a certificate for names. Empty: it has an identity. */
  readonly names: readonly string[];
  readonly since: number;
  readonly sets: readonly SetStatus[];
  /** As configured. The server gives turns by it. Undefined: the target is in no group. */
  readonly rollout: Rollout | undefined;
  /** What the set waits for that was staged last. */
  readonly waitsFor: 'nothing' | 'turn' | 'hand';
  /** Absolute. */
  readonly directory: string;
  /** Oldest first, a bounded number. */
  readonly history: readonly TargetEvent[];
}

export interface TargetEvent {
  readonly at: number;
  readonly set: string;
  readonly state: TargetState;
  readonly note: string;
}

/** The file targets of this agent. */
export interface FileTargets {
  list(): readonly TargetStatus[];
  /** Obtains a new certificate and writes it as a set, without serving it. */
  stage(target: string): Promise<Result<TargetStatus>>;
  /** Serves the staged set now, whatever its turn. */
  promote(target: string): Promise<Result<TargetStatus>>;
  /**
   * Serves the staged set, whose turn in its group has come. Resolves when the turn is taken, and
   * does not wait for the proof. Fails with CONFLICT where another set is staged now, or none.
   */
  grantTurn(target: string, setName: string): Promise<Result<TargetStatus>>;
  /** Serves the set before again. It stays so until a new set is staged. */
  rollback(target: string): Promise<Result<TargetStatus>>;
  onChange(listener: () => void): () => void;
}

/**
 * The selector of a target. Nobody calls for a target, so there is no process to attest: the agent
 * presents it for the targets of its own configuration, and for nothing else. No type of workload
 * attestation can give it.
 */
export const targetSelector = (name: string): Selector => ({
  type: 'target',
  value: `name:${name}`,
});

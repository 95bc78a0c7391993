import type { Result } from '../../src/common/errors/index.ts';

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
  readonly spiffeId: string;
  readonly since: number;
  readonly sets: readonly SetStatus[];
  /** Empty: none. */
  readonly rolloutGroup: string;
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
  /** Serves the set before again. It stays so until a new set is staged. */
  rollback(target: string): Promise<Result<TargetStatus>>;
  onChange(listener: () => void): () => void;
}

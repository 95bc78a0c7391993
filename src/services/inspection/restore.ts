import type { OperatorCaller } from '../callers/caller.ts';

/** What a restored database lacks, as far as it is known, and what the restore brings back. */
export interface RestoreView {
  /** True until an operator accepts the loss. Nothing is signed until then. */
  readonly stale: boolean;
  /**
   * The number of records under checkpoints in the database, and under the newest known checkpoint.
   */
  readonly size: number;
  readonly expected: number;
  readonly foundBy: string;
  /** True if the lost records come from the replaced database and match what was signed. */
  readonly proven: boolean;
  readonly lost: readonly LostAct[];
  readonly comingBack: readonly {
    readonly kind: 'token' | 'authority' | 'agent';
    readonly id: string;
    readonly state: string;
  }[];
  /** The number of agents in the database. Only the first are named. */
  readonly agents: number;
}

export interface LostAct {
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
}

/** Both methods require every verb on the whole trust domain, or the local socket. */
export interface Restore {
  show(caller: OperatorCaller): Promise<RestoreView>;
  /**
   * `size`: the `expected` that the operator has seen.
   *
   * @throws PkiError CONFLICT if there is nothing to accept, or for another number
   */
  accept(caller: OperatorCaller, size: number): Promise<RestoreView>;
}

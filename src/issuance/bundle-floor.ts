import type { Clock } from '../common/runtime/index.ts';
import type { ObjectLedger } from '../ledger/index.ts';

export interface BundleFloorDependencies {
  readonly objects: Pick<ObjectLedger, 'restores'>;
  readonly clock: Clock;
}

/** An agent raises the floor once in that time at most, whatever it says. */
const raiseEverySeconds = 86_400;

/**
 * The lowest sequence for the newest bundle revision. An older database counts from below what
 * agents hold, and they take no revision up to that. Therefore sequences go on from the time of the
 * restore (Unix seconds), which is above any count and above earlier restores, as numbers of CRLs
 * do. The floor never comes from an agent's number. Owner of the raise.
 */
export class BundleFloor {
  readonly #dependencies: BundleFloorDependencies;
  #raised = 0;

  constructor(dependencies: BundleFloorDependencies) {
    this.#dependencies = dependencies;
  }

  /** 0: no revision must be above another number than the one before. */
  sequence(): number {
    const { objects, clock } = this.#dependencies;
    const [restored] = objects.restores();
    if (restored === undefined) return this.#raised;
    return Math.max(this.#raised, Math.min(Math.ceil(restored.acceptedMs / 1000), clock.now()));
  }

  /**
   * An agent says that it holds a revision after our newest one: the database is older than what it
   * was told. Returns whether a new revision is due.
   */
  met(agentSequence: number, newest: number): boolean {
    const now = this.#dependencies.clock.now();
    if (agentSequence <= newest || agentSequence > now) return false;
    if (Math.max(newest, this.#raised) + raiseEverySeconds > now) return false;
    this.#raised = now;
    return true;
  }
}

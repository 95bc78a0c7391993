import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { Attempts, decide, type RotationAction, type RotationNote } from '../../domain/index.ts';
import type { Lease, LeaseStore } from '../../store/ports/index.ts';
import { execute, type ActionDependencies } from './actions.ts';
import type { ClockGuard } from './clock-guard.ts';
import { observe, type Observation, type ObserverDependencies } from './observer.ts';

export interface ControllerDependencies
  extends ActionDependencies,
    Omit<ObserverDependencies, 'store' | 'clock'> {
  readonly store: ActionDependencies['store'] &
    ObserverDependencies['store'] & { readonly leases: LeaseStore };
  readonly guard: ClockGuard;
  /** The ID of this process. */
  readonly holder: string;
  /**
   * Called after the authorities changed: all readers refresh, and a new bundle is published if one
   * is due.
   */
  readonly changed: () => Promise<void>;
  readonly logger: Logger;
  /** Whether the issuing token answers. */
  readonly issuingTokenUsable: () => boolean;
}

/** The last observation and decision. */
export interface RotationState {
  readonly at: number;
  /** False if another replica holds the lease. */
  readonly acting: boolean;
  readonly observation: Observation;
  readonly notes: readonly RotationNote[];
  readonly jumpedSeconds: number;
  /** Why an action failed that is still to be done, or why the last look failed. */
  readonly failure: PkiError | undefined;
}

const leaseName = 'rotation';
const leaseLifeMs = 15_000;
/** Time between two looks while something waits, and while nothing waits. */
const waitingMs = 1_000;
const idleMs = 10_000;
const longestWaitMs = 5_000;
const afterPokeMs = 50;
const maximumActions = 100;
const retryMs = { first: 500, longest: 30_000 };

/**
 * Drives rotation, one actor at a time. It observes, decides, does the first action, and observes
 * again. An action that failed waits for its next attempt, and the others go on. All its state is in
 * the store, so that it resumes after a restart or in another replica under the lease. Owner of the
 * lease, of the timer and of the failed attempts.
 */
export class RotationController {
  readonly #dependencies: ControllerDependencies;
  readonly #listeners = new Set<(state: RotationState) => void>();
  #lease: Lease | undefined;
  #state: RotationState | undefined;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #retry = retryMs.first;
  #unpublished = true;
  #lookMs = 0;
  #tokenLostMs: number | undefined;
  readonly #attempts = new Attempts<PkiError>({
    firstMs: retryMs.first,
    longestMs: retryMs.longest,
    standbyMs: retryMs.longest,
  });

  constructor(dependencies: ControllerDependencies) {
    this.#dependencies = dependencies;
  }

  start(): void {
    this.#schedule(0);
  }

  /** Called after a change that a decision may rest on. */
  poke(): void {
    if (this.#running !== undefined) this.#again = true;
    else this.#schedule(afterPokeMs);
  }

  /** Observes, decides and acts now. Resolves when no further action is possible at once. */
  async settle(): Promise<RotationState> {
    await this.#running;
    await this.#round();
    return this.#present();
  }

  /** The present observation and decision, without an action. */
  async look(): Promise<RotationState> {
    const observation = await observe(this.#dependencies);
    const { notes } = this.#decide(observation);
    return {
      at: observation.now,
      acting: this.#lease !== undefined,
      observation,
      notes,
      jumpedSeconds: this.#dependencies.guard.jumpedSeconds(),
      failure: this.#state?.failure,
    };
  }

  /**
   * Whether every agent that may come back has confirmed the root. True where nothing speaks
   * against it.
   */
  rootHeld(rootId: string): boolean {
    const confirmation = this.#state?.observation.confirmations.get(rootId);
    return (
      confirmation === undefined ||
      confirmation.proven.laggards.every(({ consumerId }) => consumerId !== '')
    );
  }

  /** Called after each look. Returns the unsubscribe function. */
  onState(listener: (state: RotationState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#running?.catch(() => {});
    if (this.#lease !== undefined) await this.#dependencies.store.leases.release(this.#lease);
  }

  #present(): RotationState {
    if (this.#state === undefined)
      throw new PkiError('STARTING_UP', 'rotation has not observed the authorities yet');
    return this.#state;
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    this.#cancel?.();
    this.#cancel = this.#dependencies.clock.after(delayMs, () => void this.#round());
  }

  #round(): Promise<void> {
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#schedule(afterPokeMs);
    });
    return this.#running;
  }

  async #work(): Promise<void> {
    this.#cancel?.();
    if (this.#closed) return;
    try {
      await this.#leaseHeld();
      await this.#dependencies.guard.keep();
      const state = await this.#act();
      this.#retry = retryMs.first;
      // confirmations of the successor of a tainted authority change no revision, so that nothing
      // wakes this loop
      const tainted = state.observation.facts.some(
        ({ authority }) => authority.state === 'tainted',
      );
      const waits =
        tainted ||
        state.notes.some(({ code }) => code !== 'WAITING_SCHEDULE' && code !== 'WAITING_EXPIRY');
      // the pause is a multiple of the duration of the last look, so that looking takes a small
      // part of the time with any number of agents
      const pauseMs = Math.max(
        waits || state.observation.operations.length > 0 ? waitingMs : idleMs,
        Math.min(this.#lookMs * 10, longestWaitMs),
      );
      const attemptMs = this.#attempts.nextMs(this.#dependencies.clock.monotonicMs());
      this.#schedule(Math.min(pauseMs, attemptMs ?? pauseMs));
    } catch (thrown) {
      const failure = PkiError.from(thrown);
      if (failure.code === 'LEASE_LOST') this.#lease = undefined;
      if (this.#closed || failure.code === 'SHUTTING_DOWN') return;
      this.#dependencies.logger.warn(
        { ...errorFields(failure), retryMs: this.#retry },
        'rotation failed; trying again',
      );
      if (this.#state !== undefined) this.#announce({ ...this.#state, failure });
      this.#schedule(this.#retry * (0.5 + this.#dependencies.random.uniform()));
      this.#retry = Math.min(this.#retry * 2, retryMs.longest);
    }
  }

  async #leaseHeld(): Promise<void> {
    const { store, clock, holder } = this.#dependencies;
    this.#lease = await store.leases.acquire(leaseName, holder, clock.nowMs(), leaseLifeMs);
  }

  async #act(): Promise<RotationState> {
    for (let done = 0; ; done += 1) {
      if (this.#unpublished && this.#lease !== undefined) {
        await this.#dependencies.changed();
        this.#unpublished = false;
      }
      const startedMs = this.#dependencies.clock.monotonicMs();
      const observation = await observe(this.#dependencies);
      this.#lookMs = this.#dependencies.clock.monotonicMs() - startedMs;
      const { actions, notes } = this.#decide(observation);
      const action = this.#attempts.due(actions, this.#dependencies.clock.monotonicMs());
      const state: RotationState = {
        at: observation.now,
        acting: this.#lease !== undefined,
        observation,
        notes,
        jumpedSeconds: this.#dependencies.guard.jumpedSeconds(),
        failure: this.#attempts.failure(),
      };
      this.#announce(state);
      if (action === undefined || this.#lease === undefined || this.#closed) return state;
      if (done >= maximumActions)
        throw new PkiError(
          'INTERNAL',
          `rotation took too many actions in a row; the last one was ${action.type}`,
        );
      this.#unpublished = true;
      await this.#execute(action, observation, this.#lease);
      await this.#leaseHeld();
    }
  }

  async #execute(action: RotationAction, observation: Observation, lease: Lease): Promise<void> {
    const { clock, random, logger } = this.#dependencies;
    try {
      await execute(action, observation, lease, this.#dependencies);
      this.#attempts.succeeded(action);
    } catch (thrown) {
      const failure = PkiError.from(thrown);
      if (this.#closed || failure.code === 'LEASE_LOST' || failure.code === 'SHUTTING_DOWN')
        throw thrown;
      const now = { ms: clock.monotonicMs(), uniform: random.uniform() };
      const waitMs = Math.round(this.#attempts.failed(action, failure, now));
      const fields = { ...errorFields(failure), action: action.type, retryMs: waitMs };
      if (action.type === 'standby')
        logger.warn(
          { ...fields, kind: action.kind, alert: true },
          'the standby authority could not be made; trying again',
        );
      else logger.warn(fields, 'rotation failed; trying again');
    }
  }

  /**
   * The wall-clock time since which the issuing token has not answered, computed from the elapsed
   * time.
   */
  #issuingTokenLostAt(now: number): number | undefined {
    const { clock, issuingTokenUsable } = this.#dependencies;
    if (issuingTokenUsable()) {
      this.#tokenLostMs = undefined;
      return undefined;
    }
    this.#tokenLostMs ??= clock.monotonicMs();
    return now - Math.floor((clock.monotonicMs() - this.#tokenLostMs) / 1000);
  }

  #decide(observation: Observation) {
    return decide({
      authorities: observation.facts,
      confirmations: observation.confirmations,
      operations: observation.operations,
      altered: observation.altered,
      handshakes: observation.handshakes,
      renewals: observation.renewals,
      policy: this.#dependencies.policy,
      now: observation.now,
      clock: this.#dependencies.guard.standing(),
      dualControl: observation.dualControl,
      issuingTokenLostAt: this.#issuingTokenLostAt(observation.now),
    });
  }

  #announce(state: RotationState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  type Random,
} from '../../src/common/runtime/index.ts';
import type { TargetStatus } from '../ports/file-targets.ts';
import type { SetDirectory } from './certificate-set.ts';
import type { DeliveryConsumer } from './delivery-consumer.ts';
import type { DeliveryContext, DeliveryEvent } from './delivery-event.ts';
import type { DeliveryJournal } from './delivery-journal.ts';
import { DeliveryPlan } from './delivery-plan.ts';
import { RenewedProof } from './delivery-proof.ts';
import { contextOf, type DeliveryWorld } from './delivery-wants.ts';
import { adopted, reconcile, strange } from './delivery-reconcile.ts';
import {
  currentOf,
  emptyRecord,
  isBack,
  stateOf,
  type DeliveryRecord,
  type Obstacle,
} from './delivery-record.ts';
import { setBefore } from './delivery-rollback.ts';
import { statusOf } from './delivery-status.ts';
import type { DeliverySteps } from './delivery-steps.ts';
import { next } from './delivery-transitions.ts';
import type { FileTarget } from './target.ts';

export interface DeliveryEvents {
  /** A delivery came to rest. */
  readonly delivered: (target: string, outcome: 'proven' | 'applied' | 'rolled-back') => void;
  readonly failed: (target: string, code: string) => void;
  /** The serial is not served any more: its holder has its replacement. */
  readonly replaced: (serial: string) => void;
}

export interface DeliveryDependencies {
  readonly target: FileTarget;
  readonly sets: SetDirectory;
  readonly steps: DeliverySteps;
  readonly journal: DeliveryJournal;
  readonly consumer: DeliveryConsumer;
  /** All but the time. */
  readonly world: () => Omit<DeliveryWorld, 'now'>;
  /** Whether entries and bundle are known, so that a certificate can be asked for. */
  readonly ready: () => boolean;
  readonly connected: () => boolean;
  readonly events: DeliveryEvents;
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * One target: obtains certificates, and delivers each as a set. Owner of its record. One step runs at
 * a time, and each is in the journal before it begins.
 */
export class Delivery implements AsyncDisposable {
  readonly #dependencies: DeliveryDependencies;
  readonly #stop = new AbortController();
  #record: DeliveryRecord;
  #running: Promise<void> | undefined;
  readonly #plan: DeliveryPlan;
  readonly #renewedProof: RenewedProof;
  #takenUp = false;
  /** Why it stood still, which passes with its reason. */
  #hindrance: Obstacle | undefined;
  #cancelTimer: () => void = () => {};

  constructor(dependencies: DeliveryDependencies) {
    this.#dependencies = dependencies;
    this.#record = emptyRecord(dependencies.clock.now());
    this.#plan = new DeliveryPlan(dependencies);
    this.#renewedProof = new RenewedProof(dependencies);
  }

  /** Takes up what an earlier process left. Never rejects. */
  async start(): Promise<void> {
    const { journal, target } = this.#dependencies;
    const stored = await journal.load(target.name);
    if (stored !== undefined) this.#record = stored;
    void this.#start(this.#pursue());
  }

  status(): TargetStatus {
    const { target, clock } = this.#dependencies;
    return statusOf(target, this.#record, clock.now());
  }

  /** The expiry of the certificate that is served, for metrics. */
  servedUntil(): number | undefined {
    return currentOf(this.#record)?.notAfter;
  }

  /** How the program ended that gets the OCSP answer for the set that `current` names. */
  stapled(outcome: Result<void>): void {
    this.#take(outcome.ok ? { kind: 'stapled' } : { kind: 'unstapled', error: outcome.error });
  }

  /**
   * Something changed outside: entries, bundle, authorities or the connection. A certificate that was
   * not to be had for one of these reasons is asked for again soon.
   */
  changed(mends: ReadonlySet<string>): void {
    const { clock, random } = this.#dependencies;
    const { obstacle, step, retryAt, served } = this.#record;
    const now = clock.now();
    if (step === 'rest' && retryAt > now && obstacle !== undefined && mends.has(obstacle.code)) {
      // all agents see the server come back at the same moment
      const spread = served === undefined ? 0 : Math.min(60, Math.max(0, served.endsAt - now) / 4);
      const soon = now + Math.floor(spread * random.uniform());
      this.#record = { ...this.#record, retryAt: Math.min(retryAt, soon) };
    }
    this.look();
  }

  async stage(): Promise<Result<TargetStatus>> {
    const busy = this.#busy();
    if (busy !== undefined) return busy;
    await this.#act({ kind: 'due', stageOnly: true });
    const { waitsFor, obstacle } = this.#record;
    return waitsFor === 'nothing' && obstacle !== undefined
      ? fail(obstacle.code, obstacle.message, { next: obstacle.next })
      : ok(this.status());
  }

  /** Resolves when the delivery has come to rest. */
  async promote(): Promise<Result<TargetStatus>> {
    const refused = this.#busy() ?? this.#notStaged();
    if (refused !== undefined) return refused;
    await this.#act({ kind: 'promoted' });
    return ok(this.status());
  }

  grantTurn(setName: string): Result<TargetStatus> {
    const { target } = this.#dependencies;
    const refused = this.#busy() ?? this.#notStaged();
    if (refused !== undefined) return refused;
    const { candidate, waitsFor } = this.#record;
    if (candidate?.name !== setName || waitsFor !== 'turn')
      return fail(
        'CONFLICT',
        `the target ${target.name} has ${candidate?.name ?? 'no set'} staged, which ${waitsFor === 'hand' ? 'waits for a hand' : 'is another'}`,
      );
    void this.#act({ kind: 'promoted' });
    return ok(this.status());
  }

  async rollback(): Promise<Result<TargetStatus>> {
    const { target, clock } = this.#dependencies;
    const busy = this.#busy();
    if (busy !== undefined) return busy;
    const before = setBefore(this.#record, target, clock.now());
    if (!before.ok) return before;
    await this.#act({ kind: 'rolled-back-by-hand', to: before.value });
    return ok(this.status());
  }

  /** Looks whether there is something to do. */
  look(): void {
    if (this.#stop.signal.aborted || this.#running !== undefined) return;
    void this.#start(this.#pursue());
  }

  /** The step under way is broken off, and goes on with the next process. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
    this.#cancelTimer();
    await this.#running;
    this.#dependencies.consumer.close();
  }

  #start(work: Promise<void>): Promise<void> {
    const { logger, target } = this.#dependencies;
    this.#running = work
      .catch((thrown: unknown) => {
        const { code, message, next: advice } = PkiError.from(thrown);
        if (this.#record.obstacle?.message === message) return;
        logger.error({ ...errorFields(thrown), target: target.name }, 'a file target stands still');
        this.#hinder({ code, message, next: advice });
      })
      .finally(() => {
        this.#running = undefined;
        this.#arm();
      });
    return this.#running;
  }

  async #act(event: DeliveryEvent): Promise<void> {
    await this.#start(
      (async () => {
        this.#take(event);
        await this.#steps();
      })(),
    );
  }

  #busy(): ReturnType<typeof fail> | undefined {
    return this.#running === undefined
      ? undefined
      : fail(
          'CONFLICT',
          `a delivery to the target ${this.#dependencies.target.name} is under way`,
          {
            next: 'Look at its state ("meshca set list"), and ask again when it has come to rest.',
          },
        );
  }

  #notStaged(): ReturnType<typeof fail> | undefined {
    const { candidate, swapped } = this.#record;
    return candidate !== undefined && !swapped
      ? undefined
      : fail('CONFLICT', `the target ${this.#dependencies.target.name} has no staged set`, {
          next: 'Stage one: "meshca set stage".',
        });
  }

  async #pursue(): Promise<void> {
    if (!this.#takenUp) await this.#takeUp();
    await this.#steps();
    if (this.#stop.signal.aborted) return;
    await this.#compareDisk();
    const event = this.#plan.event(this.#record);
    if (event !== undefined) {
      this.#take(event);
      await this.#steps();
    }
    await this.#removeRetired();
    await this.#proveAgain();
  }

  /** Runs steps until the record rests. */
  async #steps(): Promise<void> {
    const { steps, consumer } = this.#dependencies;
    while (this.#record.step !== 'rest' && !this.#stop.signal.aborted) {
      const { step } = this.#record;
      if (!(await this.#kept())) return;
      if (step === 'swap' && this.#record.candidate !== undefined)
        consumer.giving(this.#record.candidate);
      const event = await steps.run(step, this.#record, this.#stop.signal);
      // what ended with the agent says nothing of the set
      if (this.#stop.signal.aborted) return;
      this.#take(event);
    }
    if (this.#record.step === 'rest') await this.#kept();
  }

  /** Without its line in the journal no step begins. */
  async #kept(): Promise<boolean> {
    const { journal, target, events } = this.#dependencies;
    try {
      await journal.save(target.name, this.#record);
      this.#unhinder();
      return true;
    } catch (thrown) {
      const { code, message, next: advice } = PkiError.from(thrown);
      events.failed(target.name, code);
      this.#hinder({ code, message, next: advice });
      return false;
    }
  }

  #hinder(obstacle: Obstacle): void {
    this.#hindrance = obstacle;
    this.#record = { ...this.#record, obstacle };
    this.#dependencies.onChange();
  }

  #unhinder(): void {
    if (this.#hindrance !== undefined && this.#record.obstacle === this.#hindrance)
      this.#record = { ...this.#record, obstacle: undefined };
    this.#hindrance = undefined;
  }

  #take(event: DeliveryEvent): void {
    const before = this.#record;
    this.#record = next(before, event, this.#context());
    if (this.#record === before) return;
    this.#report(before, event);
    this.#dependencies.onChange();
  }

  #report(before: DeliveryRecord, event: DeliveryEvent): void {
    const { target, events, consumer, logger } = this.#dependencies;
    const record = this.#record;
    const state = stateOf(record);
    const set = (record.candidate ?? record.served)?.name;
    if ('error' in event) {
      events.failed(target.name, event.error.code);
      logger.warn(
        { ...errorFields(event.error), target: target.name, set, step: before.step, state },
        'a step of a file target did not succeed',
      );
    } else if (state !== stateOf(before))
      logger.info({ target: target.name, set, state }, 'a file target changed its state');
    if (record.step !== 'rest') {
      if (record.step === 'swap-back') consumer.uncertain(record, 'it is being rolled back');
      return;
    }
    const arrived = record.outcome === 'proven' || record.outcome === 'applied';
    if (arrived && record.served?.name !== before.served?.name && event.kind !== 'found') {
      if (before.served !== undefined) events.replaced(before.served.serial);
      this.#renewedProof.settle();
      events.delivered(target.name, record.outcome as 'proven' | 'applied');
      consumer.serves(record);
    } else if (record.outcome === 'rolled-back' && before.step !== 'rest' && isBack(before)) {
      this.#renewedProof.settle();
      events.delivered(target.name, 'rolled-back');
      consumer.serves(record);
    } else if (record.outcome === 'failed')
      consumer.uncertain(record, record.obstacle?.message ?? 'nothing shows what the server has');
  }

  #context(): DeliveryContext {
    return contextOf(this.#dependencies, this.#record.served);
  }

  /** Somebody else may have changed `current`, or taken the directory away. */
  async #compareDisk(): Promise<void> {
    const { sets, target } = this.#dependencies;
    if (this.#record.step !== 'rest' || this.#record.resume === 'swap-back') return;
    const expected = currentOf(this.#record);
    const current = await sets.current();
    if (current?.name === expected?.name) return this.#unhinder();
    this.#take({
      kind: 'found',
      current: current === undefined ? undefined : adopted(current),
      error: strange(target, current?.name),
    });
    await this.#kept();
  }

  /** Holds the journal against the disk. Throws while that can not be read. */
  async #takeUp(): Promise<void> {
    const { sets, target, clock, consumer } = this.#dependencies;
    const disk = { sets: await sets.list(), current: await sets.current() };
    const isNew = this.#record.served === undefined && this.#record.candidate === undefined;
    const {
      record,
      strange: isStrange,
      current,
    } = reconcile(this.#record, disk, {
      now: clock.now(),
      graceSeconds: target.graceSeconds,
    });
    const context = this.#context();
    const error = strange(target, current?.name);
    const taken = isStrange
      ? next({ ...record, step: 'rest' }, { kind: 'found', current, error }, context)
      : record;
    // sets without a journal are those of an earlier installation
    const known = isNew ? { ...taken, obstacle: undefined } : taken;
    this.#record = next(known, { kind: 'restarted' }, context);
    this.#takenUp = true;
    consumer.restored(this.#record);
    if (this.#record.served !== undefined && this.#record.step === 'rest') this.#renewedProof.owe();
  }

  async #removeRetired(): Promise<void> {
    const { clock, steps } = this.#dependencies;
    const now = clock.now();
    let removed = false;
    for (const { set, removeAt } of this.#record.retired) {
      if (removeAt > now || this.#stop.signal.aborted) continue;
      this.#take(await steps.remove(set, this.#record, this.#stop.signal));
      removed = true;
    }
    if (removed) await this.#kept();
  }

  /** Proves what an earlier process delivered, and tells the server as time passes. */
  async #proveAgain(): Promise<void> {
    const { consumer, onChange } = this.#dependencies;
    const record = this.#record;
    if (record.step !== 'rest' || record.served === undefined || record.outcome === 'failed')
      return;
    const proof = await this.#renewedProof.take(record.served, this.#stop.signal);
    if (this.#stop.signal.aborted || proof === 'later') return;
    if (proof === 'not owed') return consumer.serves(record);
    if (!proof.ok) return consumer.uncertain(record, proof.error.message);
    this.#record = {
      ...record,
      trust: proof.value || record.trust === 'proven' ? 'proven' : 'inferred',
      ...(record.outcome === 'applied' ? { outcome: 'proven' as const } : {}),
    };
    consumer.serves(this.#record);
    onChange();
  }

  #arm(): void {
    this.#cancelTimer();
    if (this.#stop.signal.aborted) return;
    const waitMs = Math.min(this.#plan.waitMs(this.#record), this.#renewedProof.waitMs());
    this.#cancelTimer = this.#dependencies.clock.after(Math.max(50, waitMs), () => this.look());
  }
}

import type { Clock, Random } from '../../src/common/runtime/index.ts';
import type { DeliveryEvent } from './delivery-event.ts';
import type { DeliveryRecord } from './delivery-record.ts';
import { endingAt, wanted, type DeliveryWorld } from './delivery-wants.ts';

export interface DeliveryPlanDependencies {
  /** All but the time. */
  readonly world: () => Omit<DeliveryWorld, 'now'>;
  /** Whether entries and bundle are known, so that a certificate can be asked for. */
  readonly ready: () => boolean;
  readonly connected: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
}

/** How often a target looks at its directory and its plans. */
const tickMs = 15_000;

/** When the next thing is done at a target that rests. Owner of that instant. */
export class DeliveryPlan {
  readonly #dependencies: DeliveryPlanDependencies;
  /** When a change that was seen is acted on, monotonic: many agents see it at the same moment. */
  #planned: { readonly reason: string; readonly at: number } | undefined;

  constructor(dependencies: DeliveryPlanDependencies) {
    this.#dependencies = dependencies;
  }

  /** What is due now. */
  event(record: DeliveryRecord): DeliveryEvent | undefined {
    const { clock, ready, world } = this.#dependencies;
    const now = clock.now();
    if (record.step !== 'rest') return undefined;
    // nobody can give the turn, and nothing is cut off
    if (this.#isStranded(record, now)) return { kind: 'promoted' };
    if (record.retryAt > now) return undefined;
    const retry: DeliveryEvent | undefined = record.retryAt > 0 ? { kind: 'retry' } : undefined;
    const want = ready() ? wanted(record, { ...world(), now }) : undefined;
    if (want === undefined) {
      this.#planned = undefined;
      return retry;
    }
    if (this.#isEarly(want.reason, want.spreadSeconds)) return retry;
    this.#planned = undefined;
    return { kind: 'due', stageOnly: false };
  }

  /** Until the next look. */
  waitMs({ retryAt, candidate, served, retired }: DeliveryRecord): number {
    const { clock } = this.#dependencies;
    const now = clock.now();
    const instants = [
      retryAt,
      (candidate ?? served)?.renewAt ?? 0,
      ...retired.map(({ removeAt }) => removeAt),
    ].filter((at) => at > now);
    const plannedMs =
      this.#planned === undefined ? Infinity : this.#planned.at - clock.monotonicMs();
    return Math.min(tickMs, plannedMs, ...instants.map((at) => (at - now) * 1000));
  }

  #isStranded({ waitsFor, served }: DeliveryRecord, now: number): boolean {
    return (
      waitsFor === 'turn' &&
      served !== undefined &&
      now >= endingAt(served) &&
      !this.#dependencies.connected()
    );
  }

  #isEarly(reason: string, spreadSeconds: number): boolean {
    const { clock, random } = this.#dependencies;
    if (this.#planned?.reason !== reason)
      this.#planned = {
        reason,
        at: clock.monotonicMs() + spreadSeconds * 1000 * random.uniform(),
      };
    return clock.monotonicMs() < this.#planned.at;
  }
}

import { fail, type Result } from '../../src/common/errors/index.ts';
import type { FileTargets, TargetStatus } from '../ports/file-targets.ts';
import type { Delivery } from './delivery.ts';

/** All targets of this agent. Each goes its own way: none waits for another. */
export class DeliveredTargets implements FileTargets, AsyncDisposable {
  readonly #deliveries: ReadonlyMap<string, Delivery>;
  readonly #listeners: Set<() => void>;

  /** @param listeners are called by the deliveries */
  constructor(deliveries: ReadonlyMap<string, Delivery>, listeners: Set<() => void>) {
    this.#deliveries = deliveries;
    this.#listeners = listeners;
  }

  list(): readonly TargetStatus[] {
    return [...this.#deliveries.values()].map((each) => each.status());
  }

  stage(target: string): Promise<Result<TargetStatus>> {
    return this.#at(target, (delivery) => delivery.stage());
  }

  promote(target: string): Promise<Result<TargetStatus>> {
    return this.#at(target, (delivery) => delivery.promote());
  }

  grantTurn(target: string, setName: string): Promise<Result<TargetStatus>> {
    return this.#at(target, async (delivery) => delivery.grantTurn(setName));
  }

  rollback(target: string): Promise<Result<TargetStatus>> {
    return this.#at(target, (delivery) => delivery.rollback());
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes up what an earlier process left. */
  async start(): Promise<void> {
    await Promise.all([...this.#deliveries.values()].map((each) => each.start()));
  }

  /** Entries, bundle, authorities or the connection changed, which may mend these codes. */
  changed(mends: ReadonlySet<string>): void {
    for (const delivery of this.#deliveries.values()) delivery.changed(mends);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#deliveries.values()].map((each) => each[Symbol.asyncDispose]()));
  }

  async #at(
    target: string,
    act: (delivery: Delivery) => Promise<Result<TargetStatus>>,
  ): Promise<Result<TargetStatus>> {
    const delivery = this.#deliveries.get(target);
    return delivery === undefined
      ? fail('NOT_FOUND', `this agent has no file target ${JSON.stringify(target)}`)
      : act(delivery);
  }
}

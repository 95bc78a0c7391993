import type { Clock } from '../../common/runtime/index.ts';
import type { ConsumerRecord } from '../../domain/index.ts';
import type { Engine } from './engine.ts';

export type HeardConsumer = ConsumerRecord & { readonly heardAt: number };

/**
 * What agents have said to this process of their consumers. A row of the database can be written by
 * others, so a confirmation counts only from here; after a start every agent tells it again with
 * its first report. Changes are staged in the transaction that writes the rows, and stand once it
 * is durable. Owner of that memory.
 */
export class HeardConsumers {
  readonly #clock: Clock;
  readonly #byAgent = new Map<string, Map<string, HeardConsumer>>();
  #staged: (() => void)[] = [];
  #mark = 0;

  constructor(engine: Engine, clock: Clock) {
    this.#clock = clock;
    engine.beforeJob((first) => {
      if (first) this.#staged = [];
      this.#mark = this.#staged.length;
    });
    engine.onRollback(() => {
      this.#staged.length = Math.min(this.#mark, this.#staged.length);
    });
    engine.afterCommit(() => {
      const staged = this.#staged;
      this.#staged = [];
      this.#mark = 0;
      for (const apply of staged) apply();
    });
  }

  replace(agentId: string, consumers: readonly ConsumerRecord[]): void {
    this.#staged.push(() => {
      const before = this.#byAgent.get(agentId);
      this.#byAgent.set(
        agentId,
        new Map(
          consumers.map((consumer) => [
            consumer.id,
            this.#heard(agentId, consumer, before?.get(consumer.id)),
          ]),
        ),
      );
    });
  }

  update(agentId: string, changed: readonly ConsumerRecord[], removedIds: readonly string[]): void {
    this.#staged.push(() => {
      const known = this.#byAgent.get(agentId);
      // nothing is whole without the snapshot with which a session begins
      if (known === undefined) return;
      for (const id of removedIds) known.delete(id);
      for (const consumer of changed)
        known.set(consumer.id, this.#heard(agentId, consumer, known.get(consumer.id)));
    });
  }

  /** In the order of their IDs; undefined: this agent has reported nothing to this process. */
  of(agentId: string): readonly HeardConsumer[] | undefined {
    const known = this.#byAgent.get(agentId);
    return known === undefined
      ? undefined
      : [...known.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  get(agentId: string, id: string): HeardConsumer | undefined {
    return this.#byAgent.get(agentId)?.get(id);
  }

  has(agentId: string): boolean {
    return this.#byAgent.has(agentId);
  }

  /** Of all agents, in no order. */
  all(): readonly HeardConsumer[] {
    return [...this.#byAgent.values()].flatMap((known) => [...known.values()]);
  }

  /** The time of the first report that said the same. */
  #heard(
    agentId: string,
    consumer: ConsumerRecord,
    before: HeardConsumer | undefined,
  ): HeardConsumer {
    return {
      ...consumer,
      agentId,
      heardAt:
        before !== undefined && saysTheSame(before, consumer) ? before.heardAt : this.#clock.now(),
    };
  }
}

const saysTheSame = (one: ConsumerRecord, other: ConsumerRecord): boolean =>
  one.state === other.state &&
  one.authoritySetDigest === other.authoritySetDigest &&
  one.jwtSetDigest === other.jwtSetDigest &&
  one.issuerSetDigest === other.issuerSetDigest;

import type { Clock } from '../common/runtime/index.ts';
import type { ConsumerRecord, ObjectMismatch } from '../domain/index.ts';
import type { ConsumerDigests, ConsumerStore } from '../store/ports/index.ts';

export type ConfirmedConsumer = ConsumerRecord & { readonly heardAt: number };

/** Every row is read for it. */
const compareEveryMs = 2_000;

/**
 * What agents have said to this process of their consumers. Others can write the rows of the
 * database, so a confirmation counts only from here; after a start every agent tells it again with
 * its first report. A report stands once its rows are durable. Owner of that memory.
 */
export class Confirmations {
  readonly #rows: ConsumerStore;
  readonly #clock: Clock;
  readonly #announce: (mismatch: ObjectMismatch) => void;
  readonly #byAgent = new Map<string, Map<string, ConfirmedConsumer>>();
  /** How often writes to the rows of an agent have begun or ended, and how many are under way. */
  readonly #changes = new Map<string, { readonly seen: number; readonly underWay: number }>();
  #comparedMs = -Infinity;

  constructor(
    rows: ConsumerStore,
    { clock, announce }: { clock: Clock; announce: (mismatch: ObjectMismatch) => void },
  ) {
    this.#rows = rows;
    this.#clock = clock;
    this.#announce = announce;
  }

  async replace(agentId: string, consumers: readonly ConsumerRecord[]): Promise<void> {
    await this.#write(agentId, () => this.#rows.replace(agentId, consumers));
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
  }

  async update(
    agentId: string,
    changed: readonly ConsumerRecord[],
    removedIds: readonly string[],
  ): Promise<void> {
    await this.#write(agentId, () => this.#rows.update(agentId, changed, removedIds));
    const known = this.#byAgent.get(agentId);
    // nothing is whole without the snapshot with which a session begins
    if (known === undefined) return;
    for (const id of removedIds) known.delete(id);
    for (const consumer of changed)
      known.set(consumer.id, this.#heard(agentId, consumer, known.get(consumer.id)));
  }

  /** In the order of their IDs; of an agent that has not spoken to this process its rows. */
  async list(agentId: string): Promise<readonly ConsumerRecord[]> {
    return this.#of(agentId) ?? (await this.#rows.list(agentId));
  }

  /** Of all agents, in no order. Of those that have not spoken what their rows say. */
  async all(): Promise<readonly ConsumerRecord[]> {
    await this.#compare();
    const silent = (await this.#rows.agents()).filter((id) => !this.#byAgent.has(id));
    const rows: ConsumerRecord[] = [];
    for (const id of silent) rows.push(...(await this.#rows.list(id)));
    return [
      // one of them may have spoken meanwhile
      ...rows.filter(({ agentId }) => !this.#byAgent.has(agentId)),
      ...[...this.#byAgent.values()].flatMap((known) => [...known.values()]),
    ];
  }

  async #write(agentId: string, write: () => Promise<void>): Promise<void> {
    this.#changed(agentId, 1);
    try {
      await write();
    } finally {
      this.#changed(agentId, -1);
    }
  }

  #changed(agentId: string, more: 1 | -1): void {
    const { seen, underWay } = this.#changes.get(agentId) ?? { seen: 0, underWay: 0 };
    this.#changes.set(agentId, { seen: seen + 1, underWay: underWay + more });
  }

  #of(agentId: string): readonly ConfirmedConsumer[] | undefined {
    const known = this.#byAgent.get(agentId);
    return known === undefined
      ? undefined
      : [...known.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  /**
   * A row counts for nothing where its agent has spoken; that somebody else has written it is to be
   * known all the same. Agents whose rows changed while they were read are left to the next time.
   */
  async #compare(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#comparedMs < compareEveryMs) return;
    this.#comparedMs = this.#clock.monotonicMs();
    const before = new Map(this.#changes);
    for (const row of await this.#rows.digests()) {
      const { agentId, id } = row;
      const known = this.#byAgent.get(agentId);
      const changes = before.get(agentId);
      if (known === undefined || changes === undefined || changes.underWay > 0) continue;
      if (changes !== this.#changes.get(agentId)) continue;
      const told = known.get(id);
      if (told === undefined || !saysTheSame(row, told))
        this.#announce({
          kind: 'consumer',
          id: `${agentId} ${id}`,
          found: told === undefined ? 'absent' : 'differs',
        });
    }
  }

  /** The time of the first report that said the same. */
  #heard(
    agentId: string,
    consumer: ConsumerRecord,
    before: ConfirmedConsumer | undefined,
  ): ConfirmedConsumer {
    return {
      ...consumer,
      agentId,
      heardAt:
        before !== undefined && saysTheSame(before, consumer) ? before.heardAt : this.#clock.now(),
    };
  }
}

const saysTheSame = (
  one: Omit<ConsumerDigests, 'agentId' | 'id'>,
  other: Omit<ConsumerDigests, 'agentId' | 'id'>,
): boolean =>
  one.state === other.state &&
  one.authoritySetDigest === other.authoritySetDigest &&
  one.jwtSetDigest === other.jwtSetDigest &&
  one.issuerSetDigest === other.issuerSetDigest;

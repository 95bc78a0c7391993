import type { Clock } from '../common/runtime/index.ts';
import type { ConsumerRecord, ObjectMismatch } from '../domain/index.ts';
import type { ConsumerDigests, ConsumerStore } from '../store/ports/index.ts';

export type ConfirmedConsumer = ConsumerRecord & { readonly heardAt: number };

/** The comparison reads every row, so that it is limited to this interval. */
const compareEveryMs = 2_000;

/**
 * What agents have reported of their consumers to this process. Others can write the rows of the
 * database, so that a confirmation counts only from this memory. After a start every agent reports
 * again. A report counts once its rows are durable. Owner of that memory.
 */
export class Confirmations {
  readonly #rows: ConsumerStore;
  readonly #clock: Clock;
  readonly #announce: (mismatch: ObjectMismatch) => void;
  readonly #byAgent = new Map<string, Map<string, ConfirmedConsumer>>();
  /** For each agent, the number of row writes that have begun or ended, and of those under way. */
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
    const consumers = this.#byAgent.get(agentId);
    // without the snapshot at the start of a session, the reports are incomplete
    if (consumers === undefined) return;
    for (const id of removedIds) consumers.delete(id);
    for (const consumer of changed)
      consumers.set(consumer.id, this.#heard(agentId, consumer, consumers.get(consumer.id)));
  }

  /**
   * The consumers of an agent, ordered by ID. Its rows, if the agent has not reported to this
   * process.
   */
  async list(agentId: string): Promise<readonly ConsumerRecord[]> {
    return this.#of(agentId) ?? (await this.#rows.list(agentId));
  }

  /** The consumers of all agents, in no order. For agents that have not reported, their rows. */
  async all(): Promise<readonly ConsumerRecord[]> {
    await this.#compare();
    const silent = (await this.#rows.agents()).filter((id) => !this.#byAgent.has(id));
    const rows: ConsumerRecord[] = [];
    for (const id of silent) rows.push(...(await this.#rows.list(id)));
    return [
      // an agent may have reported during the read
      ...rows.filter(({ agentId }) => !this.#byAgent.has(agentId)),
      ...[...this.#byAgent.values()].flatMap((consumers) => [...consumers.values()]),
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
    const consumers = this.#byAgent.get(agentId);
    return consumers === undefined
      ? undefined
      : [...consumers.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  /**
   * Compares the rows with the reports. Rows of an agent that has reported do not count, but a
   * foreign write must be noticed. Agents whose rows changed during the read are left to the next
   * comparison.
   */
  async #compare(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#comparedMs < compareEveryMs) return;
    this.#comparedMs = this.#clock.monotonicMs();
    const before = new Map(this.#changes);
    for (const row of await this.#rows.digests()) {
      const { agentId, id } = row;
      const consumers = this.#byAgent.get(agentId);
      const changes = before.get(agentId);
      if (consumers === undefined || changes === undefined || changes.underWay > 0) continue;
      if (changes !== this.#changes.get(agentId)) continue;
      const reported = consumers.get(id);
      if (reported === undefined || !saysTheSame(row, reported))
        this.#announce({
          kind: 'consumer',
          id: `${agentId} ${id}`,
          found: reported === undefined ? 'absent' : 'differs',
        });
    }
  }

  /** The time of the first report with the same content. */
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

export const saysTheSame = (
  one: Omit<ConsumerDigests, 'agentId' | 'id'>,
  other: Omit<ConsumerDigests, 'agentId' | 'id'>,
): boolean =>
  one.state === other.state &&
  one.authoritySetDigest === other.authoritySetDigest &&
  one.jwtSetDigest === other.jwtSetDigest &&
  one.issuerSetDigest === other.issuerSetDigest;

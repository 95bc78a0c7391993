import type { Clock } from '../../common/runtime/index.ts';
import { serverId, type TrustDomain } from '../../common/spiffe/index.ts';
import { parentsOf, type Agent, type Proven, type RegistrationEntry } from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { EntryStore } from '../../store/ports/index.ts';

/** Owner of the node sets in memory. They are read again after each revision. */
export class NodeSetIndex {
  readonly #entries: Pick<EntryStore, 'nodeSets'>;
  readonly #objects: Pick<ObjectLedger, 'prove'>;
  readonly #serverId: string;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #stop: () => void;
  #sets: Promise<readonly Proven<RegistrationEntry>[]> | undefined;

  constructor(dependencies: {
    readonly entries: Pick<EntryStore, 'nodeSets'>;
    readonly objects: Pick<ObjectLedger, 'prove'>;
    readonly trustDomain: TrustDomain;
    readonly clock: Pick<Clock, 'now'>;
    readonly onRevision: (listener: () => void) => () => void;
  }) {
    this.#entries = dependencies.entries;
    this.#objects = dependencies.objects;
    this.#serverId = serverId(dependencies.trustDomain).toString();
    this.#clock = dependencies.clock;
    this.#stop = dependencies.onRevision(() => {
      this.#sets = undefined;
    });
  }

  /** `now`: the time at which the entries of the sets must not have expired. */
  async parents(agent: Proven<Agent>, now = this.#clock.now()): Promise<readonly string[]> {
    return parentsOf(agent, await this.all(), now);
  }

  all(): Promise<readonly Proven<RegistrationEntry>[]> {
    if (this.#sets !== undefined) return this.#sets;
    // a set that was inserted past the log has no members
    const reading = this.#entries
      .nodeSets(this.#serverId)
      .then((sets) => sets.flatMap((set) => this.#objects.prove('entry', set) ?? []));
    this.#sets = reading;
    // do not cache a failed read
    reading.catch(() => {
      if (this.#sets === reading) this.#sets = undefined;
    });
    return reading;
  }

  close(): void {
    this.#stop();
  }
}

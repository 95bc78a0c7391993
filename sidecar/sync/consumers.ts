import { uuidv7, type Clock } from '../../src/common/runtime/index.ts';
import type { Consumer } from '../../src/common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type { ConsumerHandle, ConsumerRegistry } from '../contract.ts';

type Kind = 'workload-stream' | 'proxy' | 'files' | 'agent';

interface Line {
  readonly id: string;
  readonly kind: Kind;
  readonly spiffeId: string;
  readonly description: string;
  digest: Buffer | undefined;
  state: 'pending' | 'confirmed' | 'refused';
  reason: string;
  since: number;
}

export interface ConsumerChanges {
  readonly snapshot: boolean;
  readonly consumers: readonly Consumer[];
  readonly removedIds: readonly string[];
}

/** The server takes 10,000 per agent; what is beyond stays unreported, and counts there as one that can not tell. */
const maximumConsumers = 9000;
const maximumTextLength = 400;

/**
 * Who holds which set of authorities on this node. Owner of that state. Changes gather until they are drained, so that
 * only the newest state of each consumer goes up; a consumer that came and went between two drains is never mentioned.
 */
export class Consumers implements ConsumerRegistry {
  readonly #clock: Clock;
  readonly #onDirty: () => void;
  readonly #lines = new Map<string, Line>();
  readonly #dirty = new Set<string>();
  readonly #removed = new Set<string>();
  /** Those the server has been told of, on this stream. */
  #told = new Set<string>();

  /** `onDirty` is called when there is something to drain. */
  constructor(clock: Clock, onDirty: () => void) {
    this.#clock = clock;
    this.#onDirty = onDirty;
  }

  get size(): number {
    return this.#lines.size;
  }

  register(consumer: { readonly kind: Kind; readonly spiffeId: string; readonly description: string }): ConsumerHandle {
    if (this.#lines.size >= maximumConsumers) return silent;
    const line: Line = { id: uuidv7(this.#clock.nowMs()), kind: consumer.kind, spiffeId: consumer.spiffeId, description: printable(consumer.description), digest: undefined, state: 'pending', reason: '', since: this.#clock.now() };
    this.#lines.set(line.id, line);
    this.#touch(line.id);
    const move = (state: Line['state'], digest: Buffer, why: string): void => {
      const reason = printable(why);
      if (!this.#lines.has(line.id) || (line.state === state && line.reason === reason && line.digest?.equals(digest))) return;
      Object.assign(line, { state, digest, reason, since: this.#clock.now() });
      this.#touch(line.id);
    };
    return {
      pending: (digest) => move('pending', digest, ''),
      confirmed: (digest) => move('confirmed', digest, ''),
      refused: (digest, reason) => move('refused', digest, reason),
      remove: () => {
        if (!this.#lines.delete(line.id)) return;
        this.#dirty.delete(line.id);
        if (!this.#told.has(line.id)) return;
        this.#removed.add(line.id);
        this.#onDirty();
      },
    };
  }

  /** Everything, for a new stream. */
  snapshot(): ConsumerChanges {
    this.#dirty.clear();
    this.#removed.clear();
    this.#told = new Set(this.#lines.keys());
    return { snapshot: true, consumers: [...this.#lines.values()].map(toWire), removedIds: [] };
  }

  /** What changed since the last snapshot or drain, or undefined. */
  drain(): ConsumerChanges | undefined {
    if (this.#dirty.size === 0 && this.#removed.size === 0) return undefined;
    const consumers = [...this.#dirty].flatMap((id) => {
      const line = this.#lines.get(id);
      return line === undefined ? [] : [toWire(line)];
    });
    const removedIds = [...this.#removed];
    for (const id of this.#dirty) this.#told.add(id);
    for (const id of removedIds) this.#told.delete(id);
    this.#dirty.clear();
    this.#removed.clear();
    return { snapshot: false, consumers, removedIds };
  }

  #touch(id: string): void {
    this.#dirty.add(id);
    this.#onDirty();
  }
}

const toWire = (line: Line): Consumer => ({
  id: line.id, kind: line.kind, spiffeId: line.spiffeId, authoritySetDigest: line.digest ?? Buffer.alloc(0), state: line.state, reason: line.reason, since: line.since, description: line.description,
});

const silent: ConsumerHandle = { pending: () => {}, confirmed: () => {}, refused: () => {}, remove: () => {} };

/** Reasons come from consumers: one that the server can not print must not cost the whole report. */
// eslint-disable-next-line no-control-regex -- control characters are what is replaced
const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').slice(0, maximumTextLength);

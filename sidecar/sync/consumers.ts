import { uuidv7, type Clock } from '../../src/common/runtime/index.ts';
import type { Consumer } from '../../src/common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type {
  ConsumerDescription,
  ConsumerHandle,
  ConsumerRegistry,
  Left,
} from '../ports/consumers.ts';
import { bounded, departedToWire, none } from './consumer-report.ts';
import { Departed } from './departed.ts';
import { printable } from './printable.ts';

interface Line {
  readonly id: string;
  readonly about: ConsumerDescription;
  readonly description: string;
  digest: Buffer | undefined;
  /** The digest of the set that it read last, hex. */
  read: string;
  /** The agent's sets other than roots. For the consumer `agent` only. */
  sets: AgentSets;
  capabilities: readonly string[];
  state: 'pending' | 'confirmed' | 'refused';
  reason: string;
  since: number;
  /** The expiry of the last certificate that it received. 0 if there is none. */
  givenUntil: number;
  stalled: boolean;
}

/** Digests that only the consumer `agent` reports. */
export interface AgentSets {
  readonly jwt?: Buffer;
  readonly issuers?: Buffer;
}

/** The agent as a consumer. */
export interface AgentLine {
  hold(rootsDigest: Buffer, sets: AgentSets): void;
  /** Reports that a newer set is not proven. The set before stays confirmed. */
  pending(reason: string): void;
}

export interface ConsumerChanges {
  readonly snapshot: boolean;
  readonly consumers: readonly Consumer[];
  readonly removedIds: readonly string[];
}

/**
 * The server admits 10,000 per agent. Consumers beyond stay unreported, and count there as one that
 * can't tell.
 */
const maximumConsumers = 9000;
/**
 * How long a consumer stays by name that was cut off and never received a certificate: the usual
 * life of a certificate.
 */
const bareStallSeconds = 3600;
const sweepMs = 5000;

/**
 * Which consumer of this node has which set of authorities, including consumers that left with a
 * certificate. Owner of that state. Changes gather until they are drained, so that only the newest
 * state of each consumer is reported. A consumer that came and left between two drains is never
 * reported.
 */
export class Consumers implements ConsumerRegistry {
  readonly #clock: Clock;
  readonly #onDirty: () => void;
  readonly #onHoldings: () => void;
  readonly #lines = new Map<string, Line>();
  readonly #departed = new Departed();
  /** The line IDs of departed groups, and the time of each group's start. */
  readonly #groupLines = new Map<string, { readonly id: string; readonly since: number }>();
  readonly #groupOf = new Map<string, string>();
  readonly #dirty = new Set<string>();
  readonly #removed = new Set<string>();
  /** The lines that were reported on this stream. */
  #told = new Set<string>();
  #cancelSweep: (() => void) | undefined;

  /**
   * Calls `onDirty` when there is something to drain, and `onHoldings` when it changed who may hold
   * a certificate, or until when.
   */
  constructor(clock: Clock, onDirty: () => void, onHoldings: () => void = () => {}) {
    this.#clock = clock;
    this.#onDirty = onDirty;
    this.#onHoldings = onHoldings;
  }

  /** The number of reported lines. */
  get size(): number {
    return this.#lines.size + this.#groupLines.size;
  }

  register(about: ConsumerDescription): ConsumerHandle {
    return this.#lines.size >= maximumConsumers ? silent : this.#handle(this.#add(about));
  }

  /**
   * Registers the agent itself as a consumer: it verifies the server with its own bundle, and
   * verifies the published issuers.
   */
  registerAgent(spiffeId: string, description: string): AgentLine {
    const line = this.#add({ kind: 'agent', spiffeId, description });
    line.capabilities = ['reports-roots', 'reports-jwt'];
    return {
      hold: (digest, sets) => {
        const same =
          line.state === 'confirmed' &&
          line.digest?.equals(digest) === true &&
          equal(line.sets.jwt, sets.jwt) &&
          equal(line.sets.issuers, sets.issuers);
        if (same) return;
        const since = this.#clock.now();
        Object.assign(line, { digest, sets, state: 'confirmed', reason: '', since });
        this.#touch(line.id);
      },
      pending: (reason) => {
        if (line.state === 'pending' && line.reason === reason) return;
        Object.assign(line, { state: 'pending', reason, since: this.#clock.now() });
        this.#touch(line.id);
      },
    };
  }

  /** Restores the consumers of an earlier run. Whether they still run is unknown. */
  restore(records: Iterable<Left>): void {
    for (const record of records) if (record.until >= this.#clock.now()) this.#depart(record);
  }

  /** Everyone who may hold a certificate, for the file. */
  *holdings(): Iterable<Left> {
    const now = this.#clock.now();
    for (const line of this.#lines.values())
      if (line.givenUntil >= now) yield leftOf(line, line.givenUntil);
    for (const record of this.#departed.records()) if (record.until >= now) yield record;
  }

  /** All lines, for a new stream. */
  snapshot(): ConsumerChanges {
    this.#dirty.clear();
    this.#removed.clear();
    const consumers = [
      ...[...this.#lines.keys()].map((id) => this.#wire(id)),
      ...[...this.#groupLines.values()].map(({ id }) => this.#wire(id)),
    ].filter((each) => each !== undefined);
    this.#told = new Set(consumers.map(({ id }) => id as string));
    return { snapshot: true, consumers: bounded(consumers), removedIds: [] };
  }

  /** The changes since the last snapshot or drain. Undefined if there are none. */
  drain(): ConsumerChanges | undefined {
    if (this.#dirty.size === 0 && this.#removed.size === 0) return undefined;
    const consumers = [...this.#dirty].flatMap((id) => this.#wire(id) ?? []);
    const removedIds = [...this.#removed];
    for (const { id } of consumers) this.#told.add(id as string);
    for (const id of removedIds) this.#told.delete(id);
    this.#dirty.clear();
    this.#removed.clear();
    return { snapshot: false, consumers: bounded(consumers), removedIds };
  }

  close(): void {
    this.#cancelSweep?.();
  }

  #add(about: ConsumerDescription): Line {
    const line: Line = {
      id: uuidv7(this.#clock.nowMs()),
      about,
      description: printable(about.description),
      digest: undefined,
      read: '',
      sets: {},
      capabilities: [reports({ about })],
      state: 'pending',
      reason: '',
      since: this.#clock.now(),
      givenUntil: 0,
      stalled: false,
    };
    this.#lines.set(line.id, line);
    this.#touch(line.id);
    return line;
  }

  #handle(line: Line): ConsumerHandle {
    return {
      id: line.id,
      pending: (digest) => this.#move(line, 'pending', digest),
      unprovable: (digest, reason) => this.#move(line, 'pending', digest, reason),
      confirmed: (digest) => {
        this.#move(line, 'confirmed', digest);
        line.read = digest.toString('hex');
        this.#settle(line);
      },
      refused: (digest, reason) => this.#move(line, 'refused', digest, reason),
      given: (notAfter) => {
        if (notAfter <= line.givenUntil) return;
        line.givenUntil = notAfter;
        this.#onHoldings();
      },
      capable: (capabilities) => {
        const all = [...new Set([reports(line), ...capabilities.map(printable)])].slice(0, 10);
        if (all.join() === line.capabilities.join()) return;
        line.capabilities = all;
        this.#touch(line.id);
      },
      keepsNothing: () => {
        if (line.givenUntil === 0) return;
        line.givenUntil = 0;
        this.#onHoldings();
      },
      stalled: (reason) => this.#stalled(line, reason),
      remove: () => {
        if (line.stalled || !this.#lines.has(line.id)) return;
        this.#drop(line.id);
        if (line.givenUntil >= this.#clock.now()) this.#depart(leftOf(line, line.givenUntil));
      },
    };
  }

  #move(line: Line, state: Line['state'], digest: Buffer, why = ''): void {
    const reason = printable(why);
    if (
      !this.#lines.has(line.id) ||
      line.stalled ||
      (line.state === state && line.reason === reason && line.digest?.equals(digest))
    )
      return;
    Object.assign(line, { state, digest, reason, since: this.#clock.now() });
    this.#touch(line.id);
  }

  /** Settles what the process of this line left behind earlier, or was cut off from. */
  #settle({ about: { holder, spiffeId, takes = 'roots' } }: Line): void {
    if (holder === undefined) return;
    for (const key of this.#departed.settle(holder, spiffeId, takes)) this.#groupChanged(key);
    for (const { id, stalled, about } of this.#lines.values())
      if (
        stalled &&
        about.holder === holder &&
        about.spiffeId === spiffeId &&
        (about.takes ?? 'roots') === takes
      )
        this.#drop(id);
  }

  #stalled(line: Line, why: string): void {
    if (!this.#lines.has(line.id) || line.stalled) return;
    const since = this.#clock.now();
    const givenUntil = line.givenUntil === 0 ? since + bareStallSeconds : line.givenUntil;
    const reason = printable(why);
    Object.assign(line, { state: 'refused', reason, since, stalled: true, givenUntil });
    this.#touch(line.id);
    this.#sweepSoon();
  }

  #drop(id: string): void {
    if (!this.#lines.delete(id)) return;
    this.#gone(id);
    this.#onHoldings();
  }

  #depart(left: Left): void {
    this.#groupChanged(this.#departed.add(left));
    this.#onHoldings();
    this.#sweepSoon();
  }

  #groupChanged(key: string): void {
    const known = this.#groupLines.get(key);
    if (this.#departed.group(key) === undefined) {
      this.#groupLines.delete(key);
      if (known === undefined) return;
      this.#groupOf.delete(known.id);
      this.#gone(known.id);
      return;
    }
    if (known === undefined && this.size >= maximumConsumers) return;
    const line = known ?? {
      id: `departed ${uuidv7(this.#clock.nowMs())}`,
      since: this.#clock.now(),
    };
    this.#groupLines.set(key, line);
    this.#groupOf.set(line.id, key);
    this.#touch(line.id);
  }

  #gone(id: string): void {
    this.#dirty.delete(id);
    if (!this.#told.has(id)) return;
    this.#removed.add(id);
    this.#onDirty();
  }

  /** Plans the next sweep: a holder that left no longer counts when its certificate has expired. */
  #sweepSoon(): void {
    this.#cancelSweep ??= this.#clock.after(sweepMs, () => {
      this.#cancelSweep = undefined;
      const now = this.#clock.now();
      for (const key of this.#departed.expire(now)) this.#groupChanged(key);
      let stalled = false;
      for (const line of [...this.#lines.values()]) {
        if (!line.stalled) continue;
        if (line.givenUntil < now) this.#drop(line.id);
        else stalled = true;
      }
      if (stalled || this.#departed.size > 0) this.#sweepSoon();
    });
  }

  #touch(id: string): void {
    this.#dirty.add(id);
    this.#onDirty();
  }

  #wire(id: string): Consumer | undefined {
    const line = this.#lines.get(id);
    if (line !== undefined) return toWire(line);
    const key = this.#groupOf.get(id);
    const group = key === undefined ? undefined : this.#departed.group(key);
    if (key !== undefined && group !== undefined)
      return departedToWire(
        group,
        this.#groupLines.get(key) as { readonly id: string; readonly since: number },
      );
    return undefined;
  }
}

const reports = ({ about }: Pick<Line, 'about'>): string =>
  about.takes === 'jwt' ? 'reports-jwt' : 'reports-roots';

const equal = (one: Buffer | undefined, other: Buffer | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.equals(other);

const toWire = (line: Line): Consumer => {
  // while a newer set is under way, or was refused, the consumer has the set that it read before
  const digest =
    line.state === 'confirmed' || line.read === ''
      ? (line.digest ?? none)
      : Buffer.from(line.read, 'hex');
  return {
    id: line.id,
    kind: line.about.kind,
    spiffeId: line.about.spiffeId,
    state: line.state,
    reason: line.reason,
    since: line.since,
    description: line.description,
    capabilities: [...line.capabilities],
    authoritySetDigest: line.about.takes === 'jwt' ? none : digest,
    jwtSetDigest: line.about.takes === 'jwt' ? digest : (line.sets.jwt ?? none),
    issuerSetDigest: line.sets.issuers ?? none,
  };
};

/** Only a set that was read is proven. A set that was only sent is not. */
const leftOf = (line: Line, until: number): Left => ({
  spiffeId: line.about.spiffeId,
  takes: line.about.takes ?? 'roots',
  state: line.read === '' ? 'pending' : 'confirmed',
  digest: line.read === '' ? (line.digest?.toString('hex') ?? '') : line.read,
  description: line.description,
  holder: line.about.holder ?? line.id,
  until,
  ...(line.about.inferred === true ? { inferred: true } : {}),
});

const silent: ConsumerHandle = {
  id: '',
  pending: () => {},
  unprovable: () => {},
  confirmed: () => {},
  refused: () => {},
  given: () => {},
  capable: () => {},
  keepsNothing: () => {},
  stalled: () => {},
  remove: () => {},
};

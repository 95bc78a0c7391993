import { uuidv7, type Clock } from '../../src/common/runtime/index.ts';
import type { Consumer } from '../../src/common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type {
  ConsumerDescription,
  ConsumerHandle,
  ConsumerRegistry,
  Left,
} from '../ports/consumers.ts';
import { departedToWire, none } from './consumer-report.ts';
import { Departed } from './departed.ts';
import { printable } from './printable.ts';

interface Line {
  readonly id: string;
  readonly about: ConsumerDescription;
  readonly description: string;
  digest: Buffer | undefined;
  /** What it had read last, hex. */
  read: string;
  /** What the agent holds beside roots; of the consumer `agent` alone. */
  sets: AgentSets;
  capabilities: readonly string[];
  state: 'pending' | 'confirmed' | 'refused';
  reason: string;
  since: number;
  /** End of the last certificate that it was given; 0: none. */
  givenUntil: number;
  stalled: boolean;
}

/** Digests that only the consumer `agent` reports for itself. */
export interface AgentSets {
  readonly jwt?: Buffer;
  readonly issuers?: Buffer;
}

/** The line of the agent itself. */
export interface AgentLine {
  hold(rootsDigest: Buffer, sets: AgentSets): void;
  /** It has something newer, which is not proven; what it held before stands. */
  pending(reason: string): void;
}

export interface ConsumerChanges {
  readonly snapshot: boolean;
  readonly consumers: readonly Consumer[];
  readonly removedIds: readonly string[];
}

/**
 * The server takes 10,000 per agent; what is beyond stays unreported, and counts there as one that
 * can not tell.
 */
const maximumConsumers = 9000;
/**
 * How long one stays by name that was cut off and was never given a certificate: the usual life of
 * one.
 */
const bareStallSeconds = 3600;
const sweepMs = 5000;

/**
 * Who holds which set of authorities on this node, those included who left with a certificate in
 * hand. Owner of that state. Changes gather until they are drained, so that only the newest state
 * of each consumer goes up; a consumer that came and went between two drains is never mentioned.
 */
export class Consumers implements ConsumerRegistry {
  readonly #clock: Clock;
  readonly #onDirty: () => void;
  readonly #onHoldings: () => void;
  readonly #lines = new Map<string, Line>();
  readonly #departed = new Departed();
  /** Line IDs of departed groups, and since when they are there. */
  readonly #groupLines = new Map<string, { readonly id: string; readonly since: number }>();
  readonly #groupOf = new Map<string, string>();
  readonly #dirty = new Set<string>();
  readonly #removed = new Set<string>();
  /** Those the server has been told of, on this stream. */
  #told = new Set<string>();
  #cancelSweep: (() => void) | undefined;

  /**
   * `onDirty`: there is something to drain. `onHoldings`: who may hold a certificate, and until
   * when, changed.
   */
  constructor(clock: Clock, onDirty: () => void, onHoldings: () => void = () => {}) {
    this.#clock = clock;
    this.#onDirty = onDirty;
    this.#onHoldings = onHoldings;
  }

  /** Lines that are reported. */
  get size(): number {
    return this.#lines.size + this.#groupLines.size;
  }

  register(about: ConsumerDescription): ConsumerHandle {
    return this.#lines.size >= maximumConsumers ? silent : this.#handle(this.#add(about));
  }

  /**
   * The agent itself is a consumer: by its own bundle it judges the server, and it vouches for the
   * published issuers.
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

  /**
   * Those that an earlier run of this agent gave something to: whether they still run is not known.
   */
  restore(records: Iterable<Left>): void {
    for (const record of records) if (record.until >= this.#clock.now()) this.#depart(record);
  }

  /** Everybody who may hold a certificate, for the file. */
  *holdings(): Iterable<Left> {
    const now = this.#clock.now();
    for (const line of this.#lines.values())
      if (line.givenUntil >= now) yield leftOf(line, line.givenUntil);
    for (const record of this.#departed.records()) if (record.until >= now) yield record;
  }

  /** Everything, for a new stream. */
  snapshot(): ConsumerChanges {
    this.#dirty.clear();
    this.#removed.clear();
    const consumers = [
      ...[...this.#lines.keys()].map((id) => this.#wire(id)),
      ...[...this.#groupLines.values()].map(({ id }) => this.#wire(id)),
    ].filter((each) => each !== undefined);
    this.#told = new Set(consumers.map(({ id }) => id as string));
    return { snapshot: true, consumers, removedIds: [] };
  }

  /** What changed since the last snapshot or drain, or undefined. */
  drain(): ConsumerChanges | undefined {
    if (this.#dirty.size === 0 && this.#removed.size === 0) return undefined;
    const consumers = [...this.#dirty].flatMap((id) => this.#wire(id) ?? []);
    const removedIds = [...this.#removed];
    for (const { id } of consumers) this.#told.add(id as string);
    for (const id of removedIds) this.#told.delete(id);
    this.#dirty.clear();
    this.#removed.clear();
    return { snapshot: false, consumers, removedIds };
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

  /** What the process of this line left behind, or was cut off from, no longer counts. */
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

  /** What was given expires: whoever left with it no longer counts. */
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
  // while something newer is on its way, or was refused: what was read before is what is held
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

/** What is proven is what was read; of what was only sent, nothing is. */
const leftOf = (line: Line, until: number): Left => ({
  spiffeId: line.about.spiffeId,
  takes: line.about.takes ?? 'roots',
  state: line.read === '' ? 'pending' : 'confirmed',
  digest: line.read === '' ? (line.digest?.toString('hex') ?? '') : line.read,
  description: line.description,
  holder: line.about.holder ?? line.id,
  until,
});

const silent: ConsumerHandle = {
  id: '',
  pending: () => {},
  confirmed: () => {},
  refused: () => {},
  given: () => {},
  capable: () => {},
  keepsNothing: () => {},
  stalled: () => {},
  remove: () => {},
};

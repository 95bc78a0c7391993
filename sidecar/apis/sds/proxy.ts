import type { Clock } from '../../../src/common/runtime/index.ts';
import type { ConsumerHandle, ConsumerRegistry } from '../../ports/consumers.ts';
import { LeftBundles } from './left-bundles.ts';
import { WantedBundles } from './wanted-bundles.ts';

/** Timers are set anew at least this often. */
const longestTimerMs = 3_600_000;
/** So long a bundle counts after its stream ended, if the proxy has no certificate. */
const leftSeconds = 3600;

export interface ProxyDependencies {
  readonly registry: ConsumerRegistry;
  readonly clock: Clock;
  /** Identifies the process while it lives. */
  readonly holder: string;
  readonly description: string;
}

/** What one stream tells of its proxy. */
export interface ProxyStream {
  /**
   * The present set of the own trust domain, the IDs that the proxy may have now, and the names under
   * which this stream wants the own bundle. Told at once: between them the proxy would count as one
   * that takes no bundle.
   */
  rights(ownDigest: Buffer, spiffeIds: readonly string[], bundleNames: ReadonlySet<string>): void;
  sentSvid(spiffeId: string, notAfter: number): void;
  /** It is applied. */
  appliedSvid(spiffeId: string): void;
  refusedSvid(spiffeId: string, reason: string): void;
  sentBundle(name: string, digest: Buffer): void;
  appliedBundle(name: string, digest: Buffer): void;
  refusedBundle(name: string, reason: string): void;
  /** It applied a secret in the place of a refused one, or of one that nobody knows. */
  healed(): void;
  stalled(reason: string): void;
  leave(): void;
}

/** Identifies one stream. */
type StreamRecord = object;

interface Svid {
  notAfter: number;
  /** Why a stream refused the last one. */
  readonly refused: Map<StreamRecord, string>;
}

interface Line {
  handle: ConsumerHandle | undefined;
}

/** The set for which nothing can be proven, and until when that counts, by identity. */
interface Unprovable {
  readonly digest: string;
  readonly until: Map<string, number>;
}

/**
 * What one proxy has, over all its streams: Envoy opens one for each name. Owner of its lines at the
 * server, one for each identity that it was given.
 *
 * - It has a set of authorities if each of its subscriptions to the own bundle applied that set, also
 *   those whose streams have ended (`LeftBundles`). They count until the certificate ends that it had
 *   then.
 * - If it subscribes to no bundle, nobody can tell what it validates with. It counts until the
 *   certificate ends that it had when the set appeared. What it does meanwhile moves that instant
 *   only if it proves the set.
 * - Discovery can't take a certificate back: an identity that is no longer granted counts until its
 *   certificate ends.
 */
export class Proxy {
  readonly #dependencies: ProxyDependencies;
  /** Each with what sends again what the proxy refused. */
  readonly #streams = new Map<StreamRecord, () => void>();
  readonly #bundles = new WantedBundles();
  readonly #left = new LeftBundles();
  readonly #svids = new Map<string, Svid>();
  readonly #lines = new Map<string, Line>();
  #unprovable: Unprovable = { digest: '', until: new Map() };
  #ownDigest: Buffer | undefined;
  #granted: readonly string[] = [];
  /** It was cut off: its lines stay as they are until a stream begins. */
  #cutOff = false;
  #cancelTimer = (): void => {};

  constructor(dependencies: ProxyDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Calls `again` when the stream may send again what was refused on it: Envoy refuses a good secret
   * while it has a broken one beside it, and does not tell when that has been replaced.
   */
  enter(again: () => void): ProxyStream {
    const stream: StreamRecord = {};
    this.#streams.set(stream, again);
    this.#cutOff = false;
    const then =
      <Args extends readonly unknown[]>(change: (...args: Args) => void) =>
      (...args: Args): void => {
        if (!this.#streams.has(stream)) return;
        change(...args);
        this.#report();
      };
    return {
      rights: then((ownDigest, spiffeIds, bundleNames) => {
        this.#ownDigest = ownDigest;
        this.#granted = spiffeIds;
        this.#bundles.wants(stream, bundleNames);
      }),
      sentSvid: then((spiffeId, notAfter) => {
        const known = this.#svids.get(spiffeId);
        if (known === undefined) this.#svids.set(spiffeId, { notAfter, refused: new Map() });
        else known.notAfter = Math.max(known.notAfter, notAfter);
      }),
      appliedSvid: then((spiffeId) => this.#svids.get(spiffeId)?.refused.delete(stream)),
      refusedSvid: then((spiffeId, reason) =>
        this.#svids.get(spiffeId)?.refused.set(stream, reason),
      ),
      sentBundle: then((name, digest) =>
        this.#bundles.change(stream, name, { sent: digest, refused: undefined }),
      ),
      appliedBundle: then((name, digest) => {
        this.#bundles.change(stream, name, { applied: digest.toString('hex') });
        if (this.#bundles.has(stream, name) && this.#ownDigest?.equals(digest) === true)
          this.#left.proven(name, stream);
      }),
      refusedBundle: then((name, reason) =>
        this.#bundles.change(stream, name, { refused: reason }),
      ),
      healed: () => {
        if (!this.#streams.has(stream)) return;
        if (this.#refusal() === undefined) return;
        for (const each of [...this.#streams.values()]) each();
      },
      stalled: (reason) => this.#stalled(reason),
      leave: () => this.#leave(stream),
    };
  }

  #stalled(reason: string): void {
    if (this.#cutOff) return;
    this.#cutOff = true;
    for (const { handle } of this.#lines.values()) handle?.stalled(reason);
    this.#lines.clear();
    this.#cancelTimer();
  }

  #leave(stream: StreamRecord): void {
    if (!this.#streams.delete(stream)) return;
    for (const { refused } of this.#svids.values()) refused.delete(stream);
    this.#keep(this.#bundles.leave(stream));
    if (this.#streams.size > 0) return this.#report();
    for (const { handle } of this.#lines.values()) handle?.remove();
    this.#lines.clear();
    this.#cancelTimer();
  }

  get hasStreams(): boolean {
    return this.#streams.size > 0;
  }

  /**
   * Whether something of it counts. Without streams it is remembered as long: when a connection
   * breaks, its streams come back one by one, and the first must not speak for those that are still
   * missing.
   */
  counts(now: number): boolean {
    return this.#ends().some((end) => end >= now);
  }

  /** The proxy still validates with what the stream brought it: the sets applied, by name. */
  #keep(bundles: ReadonlyMap<string, string>): void {
    const own = this.#ownDigest?.toString('hex');
    if (own === undefined) return;
    const ends = [...this.#svids.values()].map(({ notAfter }) => notAfter);
    const until =
      ends.length === 0 ? this.#dependencies.clock.now() + leftSeconds : Math.max(...ends);
    for (const [name, applied] of bundles)
      this.#left.ended(
        name,
        { applied, others: new Set(this.#bundles.appliedBy(name)) },
        { own, until },
      );
  }

  /** Brings the lines in step with what is known. */
  #report(): void {
    const own = this.#ownDigest;
    if (this.#cutOff || own === undefined) return;
    const now = this.#dependencies.clock.now();
    for (const [id, { notAfter }] of this.#svids) if (notAfter < now) this.#svids.delete(id);
    const left = this.#left.applied(now);
    const [first] = this.#granted;
    const alone = this.#bundles.size > 0 && this.#svids.size === 0 && first !== undefined;
    const ids = new Set(alone ? [first] : this.#svids.keys());
    for (const [id, { handle }] of this.#lines) {
      if (ids.has(id)) continue;
      handle?.remove();
      this.#lines.delete(id);
    }
    for (const id of ids) {
      const line = this.#lines.get(id) ?? { handle: undefined };
      this.#lines.set(id, line);
      this.#reportLine(id, line, { own, left, now });
    }
    this.#plan(now);
  }

  #reportLine(
    id: string,
    line: Line,
    world: {
      readonly own: Buffer;
      /** What the subscriptions applied whose streams have ended. */
      readonly left: readonly string[];
      readonly now: number;
    },
  ): void {
    const { own, left, now } = world;
    const svid = this.#svids.get(id);
    const refused = this.#refusalOf(svid);
    const present = own.toString('hex');
    const text = this.#bundles.sent().find((each) => each !== present) ?? present;
    const digest = text === present ? own : Buffer.from(text, 'hex');
    if (this.#bundles.size === 0 && svid !== undefined && refused === undefined) {
      const until = this.#unprovableUntil(id, own, svid);
      if (until < now) return this.#settle(line);
      this.#handle(id, line, svid).unprovable(own, unprovableReason(until));
      return;
    }
    const handle = this.#handle(id, line, svid);
    if (refused !== undefined) return handle.refused(digest, refused);
    const applied = [...this.#bundles.applied(), ...left];
    if (!applied.every((each) => each === text)) return handle.pending(digest);
    if (digest.equals(own)) {
      this.#left.confirmed();
      this.#unprovable.until.delete(id);
    }
    handle.confirmed(digest);
  }

  #refusalOf(svid: Svid | undefined): string | undefined {
    const [ofSvid] = svid?.refused.values() ?? [];
    const reason = this.#bundles.refusal() ?? ofSvid;
    return reason === undefined ? undefined : `the proxy refused the update: ${reason}`;
  }

  /** Why it refused anything that still stands. */
  #refusal(): string | undefined {
    const svids = [...this.#svids.values()];
    return this.#bundles.refusal() ?? svids.flatMap(({ refused }) => [...refused.values()])[0];
  }

  #unprovableUntil(id: string, own: Buffer, { notAfter }: Svid): number {
    const digest = own.toString('hex');
    if (this.#unprovable.digest !== digest) this.#unprovable = { digest, until: new Map() };
    const until = this.#unprovable.until.get(id) ?? notAfter;
    this.#unprovable.until.set(id, until);
    return until;
  }

  /** It counts no longer, whatever certificates it got since. */
  #settle(line: Line): void {
    line.handle?.keepsNothing();
    line.handle?.remove();
    line.handle = undefined;
  }

  #handle(id: string, line: Line, svid: Svid | undefined): ConsumerHandle {
    const { registry, holder, description } = this.#dependencies;
    line.handle ??= registry.register({
      kind: 'proxy',
      spiffeId: id,
      takes: 'roots',
      holder,
      description,
    });
    if (svid !== undefined) line.handle.given(svid.notAfter);
    line.handle.capable(this.#granted.includes(id) ? [] : ['right-ended']);
    return line.handle;
  }

  /** Until when its parts count, Unix seconds. */
  #ends(): readonly number[] {
    return [
      ...[...this.#svids.values()].map(({ notAfter }) => notAfter),
      ...this.#left.ends(),
      ...this.#unprovable.until.values(),
    ];
  }

  /** The next instant at which something ends by itself. */
  #plan(now: number): void {
    this.#cancelTimer();
    const ends = this.#ends().filter((end) => end >= now);
    if (ends.length === 0) return;
    const waitMs = (Math.min(...ends) + 1 - now) * 1000;
    this.#cancelTimer = this.#dependencies.clock.after(
      Math.max(1000, Math.min(waitMs, longestTimerMs)),
      () => this.#report(),
    );
  }
}

const unprovableReason = (until: number): string =>
  'subscribes to no bundle, so that nobody can tell what it validates with; counts until ' +
  `${new Date(until * 1000).toISOString()}, when the certificate ends that it had`;

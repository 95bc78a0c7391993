import { createHash, randomBytes } from 'node:crypto';
import { systemClock, type Clock } from '../../src/common/runtime/index.ts';
import {
  parseSelector,
  selectorText,
  SpiffeId,
  TrustDomain,
  type Selector,
} from '../../src/common/spiffe/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import {
  identityKey,
  namesOf,
  type AgentEntry,
  type EntryCache,
  type Identity,
} from '../../sidecar/ports/entries.ts';
import { targetSelector } from '../../sidecar/ports/file-targets.ts';
import type { BundleSource, TrustBundle } from '../../sidecar/ports/bundles.ts';
import type { ConsumerRegistry } from '../../sidecar/ports/consumers.ts';
import type {
  HeldJwtSvid,
  HeldX509Svid,
  SvidSubscription,
  SvidManager,
} from '../../sidecar/ports/svids.ts';

export const entryOf = (
  id: string,
  spiffeId: string,
  selectors: readonly string[],
  more: Partial<AgentEntry> = {},
): AgentEntry => ({
  id,
  spiffeId,
  selectors: selectors.map((text) => unwrap(parseSelector(text))),
  revision: 1,
  x509TtlSeconds: 0,
  jwtTtlSeconds: 0,
  hint: '',
  dnsNames: [],
  expiresAt: 0,
  isTemplate: false,
  placeholders: new Map(),
  createdAt: 0,
  createdOrder: 0,
  federatesWith: [],
  profile: 'short-lived',
  ips: [],
  ...more,
});

/** EntryCache by plain scan. */
export class FakeEntries implements EntryCache {
  isSynced = true;
  entries: readonly AgentEntry[] = [];
  readonly wantedCalls: string[][] = [];
  readonly #listeners = new Set<() => void>();

  set(...entries: readonly AgentEntry[]): void {
    this.entries = entries;
    for (const each of this.#listeners) each();
  }
  synced(): boolean {
    return this.isSynced;
  }
  size(): number {
    return this.entries.length;
  }
  match(selectors: readonly Selector[]): readonly Identity[] {
    return this.#matching(selectors).filter(({ entry }) => namesOf(entry) === undefined);
  }
  ofTarget(name: string): readonly Identity[] {
    return this.#matching([targetSelector(name)]);
  }
  #matching(selectors: readonly Selector[]): readonly Identity[] {
    const held = new Set(selectors.map(selectorText));
    return this.entries
      .filter((entry) => entry.selectors.every((each) => held.has(selectorText(each))))
      .map((entry) => ({ entry, spiffeId: SpiffeId.of(entry.spiffeId) }));
  }
  wanted(selectors: readonly Selector[], prefixes: readonly string[]): ReadonlySet<string> {
    this.wantedCalls.push([...prefixes]);
    const held = new Set(selectors.map(selectorText));
    const costly = (text: string): string | undefined =>
      prefixes.find((prefix) => text.startsWith(`${prefix}:`));
    const wanted = new Set<string>();
    for (const entry of this.entries) {
      const texts = entry.selectors.map(selectorText);
      if (!texts.every((text) => held.has(text) || costly(text) !== undefined)) continue;
      for (const text of texts) if (!held.has(text)) wanted.add(costly(text) as string);
    }
    return wanted;
  }
  nearMisses(selectors: readonly Selector[], limit: number) {
    const held = new Set(selectors.map(selectorText));
    return this.entries
      .map((entry) => {
        const texts = entry.selectors.map(selectorText);
        return {
          entry,
          matched: texts.filter((each) => held.has(each)),
          missed: texts.filter((each) => !held.has(each)),
        };
      })
      .filter((each) => each.missed.length > 0 && each.matched.length > 0)
      .slice(0, limit);
  }
  all(): readonly AgentEntry[] {
    return this.entries;
  }
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  get listeners(): number {
    return this.#listeners.size;
  }
}

/**
 * SvidManager whose SVIDs are random bytes, or what `pair` makes. `signing` holds the first SVIDs back until it resolves.
 */
export class FakeSvids implements SvidManager {
  signing: Promise<void> | undefined;
  pair: (identity: Identity) => Pick<HeldX509Svid, 'chainDer' | 'privateKeyPkcs8Der'> = () => ({
    chainDer: [randomBytes(700), randomBytes(600)],
    privateKeyPkcs8Der: randomBytes(138),
  });
  /** Whatever a JWT-SVID waits for before it is signed. */
  jwtSigning: Promise<unknown> = Promise.resolve();
  open = 0;
  readonly confirmed: string[] = [];
  readonly jwtCalls: { readonly id: string; readonly audience: readonly string[] }[] = [];
  readonly #svids = new Map<string, HeldX509Svid>();
  readonly #listeners = new Map<string, Set<(svid: HeldX509Svid) => void>>();

  renew(identity: Identity): HeldX509Svid {
    const key = identityKey(identity);
    const svid: HeldX509Svid = {
      identity,
      serial: randomBytes(8).toString('hex'),
      ...this.pair(identity),
      notBefore: 0,
      notAfter: 2_000_000_000,
    };
    this.#svids.set(key, svid);
    for (const each of this.#listeners.get(key) ?? []) each(svid);
    return svid;
  }
  acquire(identity: Identity): SvidSubscription {
    const key = identityKey(identity);
    this.open += 1;
    const mine = new Set<(svid: HeldX509Svid) => void>();
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners);
    if (this.signing === undefined && !this.#svids.has(key)) this.renew(identity);
    return {
      current: () => this.#svids.get(key),
      ready: async () => {
        await this.signing;
        return this.#svids.get(key) ?? this.renew(identity);
      },
      onUpdate(listener) {
        listeners.add(listener);
        mine.add(listener);
        return () => void listeners.delete(listener);
      },
      confirm: (serial) => void this.confirmed.push(serial),
      release: () => {
        this.open -= 1;
      },
    };
  }
  async fetchJwt(identity: Identity, audience: readonly string[]): Promise<HeldJwtSvid> {
    this.jwtCalls.push({ id: identity.spiffeId.toString(), audience });
    await this.jwtSigning;
    return {
      spiffeId: identity.spiffeId,
      token: `token-for-${audience.join('+')}`,
      expiresAt: 2_000_000_000,
      hint: identity.entry.hint,
    };
  }
}

export const bundleOf = (name: string, sequence = 1, jwksJson = '{"keys":[]}'): TrustBundle => {
  const root = randomBytes(500);
  return {
    trustDomain: TrustDomain.of(name),
    sequence,
    rootsDer: [root],
    jwksJson,
    authoritySetDigest: createHash('sha256')
      .update(createHash('sha256').update(root).digest())
      .digest(),
    jwtSetDigest: createHash('sha256').update(jwksJson).digest(),
    issuersSha256: [],
  };
};

export class FakeBundles implements BundleSource {
  own: TrustBundle | undefined = bundleOf('td.test');
  others = new Map<string, TrustBundle>();
  crlsDer: readonly Buffer[] = [];
  readonly #listeners = new Set<() => void>();

  set(own: TrustBundle | undefined, others: readonly TrustBundle[] = []): void {
    this.own = own;
    this.others = new Map(others.map((each) => [each.trustDomain.name, each]));
    for (const each of this.#listeners) each();
  }
  current(): TrustBundle | undefined {
    return this.own;
  }
  crls(): readonly Buffer[] {
    return this.crlsDer;
  }
  federated(): ReadonlyMap<string, TrustBundle> {
    return this.others;
  }
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** For the local API of an agent that holds no foreign bundle. */
export const noForeignBundles = {
  federated: (): ReadonlyMap<string, TrustBundle> => new Map(),
  refused: () => undefined,
  federatedProblems: (): ReadonlyMap<string, string> => new Map(),
};

export class FakeConsumers implements ConsumerRegistry {
  readonly reports: string[] = [];
  readonly stalls: string[] = [];
  readonly refusals: string[] = [];
  readonly unprovables: string[] = [];
  readonly capabilities: string[] = [];
  open = 0;

  register(
    consumer: Parameters<ConsumerRegistry['register']>[0],
  ): ReturnType<ConsumerRegistry['register']> {
    this.open += 1;
    const note =
      (state: string) =>
      (digest: Buffer): void =>
        void this.reports.push(
          `${state} ${consumer.spiffeId} ${digest.toString('hex').slice(0, 8)}`,
        );
    return {
      id: String(this.open),
      pending: note('pending'),
      unprovable: (digest, reason) => {
        note('unprovable')(digest);
        this.unprovables.push(reason);
      },
      confirmed: note('confirmed'),
      refused: (digest, reason) => {
        note('refused')(digest);
        this.refusals.push(reason);
      },
      given: () => {},
      capable: (all) => void (all.length > 0 && this.capabilities.push(...all)),
      keepsNothing: () => void this.reports.push('keeps-nothing'),
      stalled: (reason) => void this.stalls.push(reason),
      remove: () => void (this.open -= 1),
    };
  }
}

/**
 * Real time that can be moved on by hand, so that long limits pass at once and no slow machine
 * makes short ones of them.
 */
export class LeapClock implements Clock {
  #leptMs = 0;
  readonly #timers = new Set<{
    readonly delayMs: number;
    readonly dueMs: number;
    readonly callback: () => void;
    cancel: () => void;
  }>();

  nowMs = (): number => systemClock.nowMs() + this.#leptMs;
  now = (): number => Math.floor(this.nowMs() / 1000);
  monotonicMs = (): number => systemClock.monotonicMs() + this.#leptMs;
  sleep = systemClock.sleep;

  after = (delayMs: number, callback: () => void): (() => void) => {
    const timer = { delayMs, dueMs: this.monotonicMs() + delayMs, callback, cancel: () => {} };
    this.#timers.add(timer);
    this.#arm(timer);
    return () => {
      timer.cancel();
      this.#timers.delete(timer);
    };
  };

  /** Whether a timer of that length runs. */
  runs(delayMs: number): boolean {
    return [...this.#timers].some((timer) => timer.delayMs === delayMs);
  }

  /** Resolves when all that was due has had its turn. */
  caughtUp(): Promise<void> {
    return new Promise((resolve) => void systemClock.after(0, () => setImmediate(resolve)));
  }

  leap(milliseconds: number): void {
    this.#leptMs += milliseconds;
    for (const timer of this.#timers) this.#arm(timer);
  }

  #arm(timer: { readonly dueMs: number; readonly callback: () => void; cancel: () => void }): void {
    timer.cancel();
    timer.cancel = systemClock.after(timer.dueMs - this.monotonicMs(), () => {
      this.#timers.delete(timer as never);
      timer.callback();
    });
  }
}

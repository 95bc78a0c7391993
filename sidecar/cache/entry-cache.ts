import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import {
  isReserved,
  parseTemplate,
  selectorText,
  SpiffeId,
  type Selector,
  type Template,
  type TrustDomain,
} from '../../src/common/spiffe/index.ts';
import {
  namesOf,
  type AgentEntry,
  type EntryCache,
  type Identity,
  type NearMiss,
} from '../ports/entries.ts';
import { targetSelector } from '../ports/file-targets.ts';
import { SelectorIndex } from './selector-index.ts';

interface Item {
  readonly id: string;
  readonly entry: AgentEntry;
  readonly texts: readonly string[];
  /** Fixed, or filled per process. */
  readonly target: SpiffeId | Template;
}

export interface EntryCacheDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The entries of this agent. Snapshots replace atomically: the new index is complete before it
 * takes the place of the old one. An entry that this agent must not serve (foreign or reserved ID,
 * no selectors, broken template) is left out and logged.
 */
export class SyncedEntryCache implements EntryCache {
  readonly #dependencies: EntryCacheDependencies;
  #items = new Map<string, Item>();
  #counts = new Map<string, number>();
  #index = new SelectorIndex<Item>();
  /** Per set of costly prefixes: only the items that have one, anchored at another selector. */
  #costly = new Map<string, SelectorIndex<Item>>();
  #synced = false;
  #cancelExpiry: (() => void) | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(dependencies: EntryCacheDependencies) {
    this.#dependencies = dependencies;
  }

  synced(): boolean {
    return this.#synced;
  }

  size(): number {
    return this.#items.size;
  }

  get(id: string): AgentEntry | undefined {
    return this.#items.get(id)?.entry;
  }

  *all(): Generator<AgentEntry> {
    for (const item of this.#items.values()) yield item.entry;
  }

  applySnapshot(entries: Iterable<AgentEntry>): void {
    const items = new Map<string, Item>();
    const intern = new Map<string, string>();
    const counts = new Map<string, number>();
    for (const entry of entries) {
      const item = this.#item(entry, intern);
      if (item !== undefined) items.set(item.id, item);
    }
    for (const item of items.values())
      for (const text of item.texts) counts.set(text, (counts.get(text) ?? 0) + 1);
    const index = new SelectorIndex<Item>();
    for (const item of items.values()) index.add(item, (text) => counts.get(text) ?? 0);
    [this.#items, this.#counts, this.#index, this.#costly, this.#synced] = [
      items,
      counts,
      index,
      new Map(),
      true,
    ];
    this.#changed();
  }

  applyChanges(upserts: Iterable<AgentEntry>, removedIds: Iterable<string>): void {
    for (const id of removedIds) this.#remove(id);
    for (const entry of upserts) {
      this.#remove(entry.id);
      const item = this.#item(entry);
      if (item === undefined) continue;
      this.#items.set(item.id, item);
      for (const text of item.texts) this.#counts.set(text, (this.#counts.get(text) ?? 0) + 1);
      this.#index.add(item, this.#countOf);
      for (const [prefixes, index] of this.#costly)
        if (costlyOf(item, prefixes.split('\n')).length > 0) index.add(item, this.#countOf);
    }
    this.#changed();
  }

  match(selectors: readonly Selector[]): readonly Identity[] {
    return this.#matching(selectors).filter(({ entry }) => namesOf(entry) === undefined);
  }

  ofTarget(name: string): readonly Identity[] {
    return this.#matching([targetSelector(name)]);
  }

  #matching(selectors: readonly Selector[]): readonly Identity[] {
    const texts = new Set(selectors.map(selectorText));
    const now = this.#dependencies.clock.now();
    const found: Identity[] = [];
    for (const item of this.#index.candidates(texts)) {
      if (expired(item, now) || !item.texts.every((text) => texts.has(text))) continue;
      const spiffeId = this.#idFor(item, selectors);
      if (spiffeId !== undefined) found.push({ entry: item.entry, spiffeId });
    }
    return found.sort((left, right) => byCreation(left.entry, right.entry));
  }

  /**
   * What this entry gives a process with these selectors, or undefined if it gives no identity (any
   * more).
   */
  identityFor(entryId: string, selectors: readonly Selector[]): Identity | undefined {
    const item = this.#items.get(entryId);
    if (item === undefined || expired(item, this.#dependencies.clock.now())) return undefined;
    if (namesOf(item.entry) !== undefined) return undefined;
    if (!item.texts.every((text) => selectors.some((selector) => selectorText(selector) === text)))
      return undefined;
    const spiffeId = this.#idFor(item, selectors);
    return spiffeId === undefined ? undefined : { entry: item.entry, spiffeId };
  }

  wanted(selectors: readonly Selector[], costlyPrefixes: readonly string[]): ReadonlySet<string> {
    const texts = new Set(selectors.map(selectorText));
    const now = this.#dependencies.clock.now();
    const wanted = new Set<string>();
    for (const item of this.#costlyIndex(costlyPrefixes).candidates(texts)) {
      if (expired(item, now)) continue;
      const costly = costlyOf(item, costlyPrefixes);
      if (costly.every((prefix) => wanted.has(prefix))) continue;
      if (
        !item.texts.every(
          (text) =>
            texts.has(text) || costlyPrefixes.some((prefix) => text.startsWith(`${prefix}:`)),
        )
      )
        continue;
      for (const prefix of costly) wanted.add(prefix);
      if (wanted.size === costlyPrefixes.length) break;
    }
    return wanted;
  }

  nearMisses(selectors: readonly Selector[], limit: number): readonly NearMiss[] {
    const texts = new Set(selectors.map(selectorText));
    const scored: { readonly item: Item; readonly matched: number }[] = [];
    for (const item of this.#items.values()) {
      if (namesOf(item.entry) !== undefined) continue;
      const matched = item.texts.reduce((sum, text) => sum + (texts.has(text) ? 1 : 0), 0);
      if (matched < item.texts.length) scored.push({ item, matched });
    }
    scored.sort(
      (left, right) =>
        right.matched - left.matched ||
        left.item.texts.length - right.item.texts.length ||
        (left.item.id < right.item.id ? -1 : 1),
    );
    return scored.slice(0, limit).map(({ item }) => ({
      entry: item.entry,
      matched: item.texts.filter((text) => texts.has(text)),
      missed: item.texts.filter((text) => !texts.has(text)),
    }));
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#cancelExpiry?.();
    this.#cancelExpiry = undefined;
    this.#listeners.clear();
  }

  readonly #countOf = (text: string): number => this.#counts.get(text) ?? 0;

  #idFor(item: Item, selectors: readonly Selector[]): SpiffeId | undefined {
    if (item.target instanceof SpiffeId) return item.target;
    const filled = item.target.fill(selectors, item.entry.placeholders);
    return filled.ok ? filled.value : undefined;
  }

  #item(entry: AgentEntry, intern?: Map<string, string>): Item | undefined {
    const target = this.#target(entry);
    if (target === undefined) return undefined;
    // 20,000 entries share few distinct selectors: one string for each
    const texts = [
      ...new Set(
        entry.selectors.map((selector) => {
          const text = selectorText(selector);
          const known = intern?.get(text);
          if (known !== undefined) return known;
          intern?.set(text, text);
          return text;
        }),
      ),
    ];
    return { id: entry.id, entry, texts, target };
  }

  #target(entry: AgentEntry): SpiffeId | Template | undefined {
    const { trustDomain, logger } = this.#dependencies;
    const leaveOut = (reason: string): undefined => {
      logger.warn({ entryId: entry.id, spiffeId: entry.spiffeId, reason }, 'an entry is left out');
      return undefined;
    };
    if (entry.selectors.length === 0) return leaveOut('it has no selectors');
    if (namesOf(entry) !== undefined && entry.selectors.some(({ type }) => type !== 'target'))
      return leaveOut('it gives names, and has selectors of processes');
    if (entry.isTemplate) {
      const template = parseTemplate(entry.spiffeId);
      if (!template.ok) return leaveOut(template.error.message);
      return template.value.trustDomainName === trustDomain.name
        ? template.value
        : leaveOut('its trust domain is another');
    }
    const id = SpiffeId.parse(entry.spiffeId);
    if (!id.ok) return leaveOut(id.error.message);
    if (!id.value.trustDomain.equals(trustDomain)) return leaveOut('its trust domain is another');
    if (id.value.path === '' || isReserved(id.value)) return leaveOut('its ID is reserved');
    return id.value;
  }

  #remove(id: string): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    this.#items.delete(id);
    this.#index.delete(item);
    for (const index of this.#costly.values()) index.delete(item);
    for (const text of item.texts) {
      const left = (this.#counts.get(text) ?? 1) - 1;
      if (left === 0) this.#counts.delete(text);
      else this.#counts.set(text, left);
    }
  }

  #costlyIndex(prefixes: readonly string[]): SelectorIndex<Item> {
    const key = prefixes.join('\n');
    const known = this.#costly.get(key);
    if (known !== undefined) return known;
    const index = new SelectorIndex<Item>(
      (text) => !prefixes.some((prefix) => text.startsWith(`${prefix}:`)),
    );
    for (const item of this.#items.values())
      if (costlyOf(item, prefixes).length > 0) index.add(item, this.#countOf);
    this.#costly.set(key, index);
    return index;
  }

  #changed(): void {
    this.#watchExpiry();
    for (const listener of this.#listeners) listener();
  }

  /** An entry that expires is a change like any other. */
  #watchExpiry(): void {
    this.#cancelExpiry?.();
    this.#cancelExpiry = undefined;
    const now = this.#dependencies.clock.now();
    let next = Infinity;
    for (const { entry } of this.#items.values())
      if (entry.expiresAt > now && entry.expiresAt < next) next = entry.expiresAt;
    if (next === Infinity) return;
    // at most an hour ahead, since the wall clock may move
    this.#cancelExpiry = this.#dependencies.clock.after(
      Math.min(next * 1000 - this.#dependencies.clock.nowMs() + 1, 3_600_000),
      () => this.#changed(),
    );
  }
}

/** Entries of older releases have no place in the order: time and ID decide among them. */
const byCreation = (left: AgentEntry, right: AgentEntry): number =>
  left.createdOrder - right.createdOrder ||
  left.createdAt - right.createdAt ||
  (left.id < right.id ? -1 : 1);

const expired = (item: Item, now: number): boolean =>
  item.entry.expiresAt !== 0 && item.entry.expiresAt <= now;

const costlyOf = (item: Item, prefixes: readonly string[]): string[] =>
  prefixes.filter((prefix) => item.texts.some((text) => text.startsWith(`${prefix}:`)));

import { SortedTexts } from './sorted-texts.ts';
import type { Tenant, TenantNames } from './tenant.ts';

/** What of a tenant decides on its names. */
export type NameOwner = Pick<
  Tenant,
  'name' | 'dnsSuffixes' | 'spiffePrefixes' | 'quotaCertificates' | 'quotaSeconds' | 'state'
>;

/** A name of one tenant that is, or is above or below, that of another. */
export interface TenantOverlap {
  /** The other tenant. */
  readonly tenant: string;
  readonly own: string;
  readonly other: string;
}

/**
 * Which tenant owns a name. A lookup takes as many steps as the name has labels; to find what is
 * below a name takes the logarithm of all names. Only who made it puts tenants into it.
 */
export class NameOwners<T extends NameOwner = NameOwner> {
  static readonly none = new NameOwners<never>([]);
  readonly #byName = new Map<string, T>();
  readonly #bySuffix = new Map<string, T>();
  /** By the name above a suffix: a wildcard there stands for the suffix too. */
  readonly #directlyBelow = new Map<string, Set<T>>();
  readonly #byPrefix = new Map<string, T>();
  /** See `suffixKey`. */
  readonly #suffixKeys: SortedTexts;
  readonly #prefixes: SortedTexts;

  /** Their names are disjoint. */
  constructor(tenants: readonly T[]) {
    for (const tenant of tenants) this.#set(tenant);
    this.#suffixKeys = new SortedTexts([...this.#bySuffix.keys()].map(suffixKey));
    this.#prefixes = new SortedTexts(this.#byPrefix.keys());
  }

  /**
   * Puts a tenant in the place of the one of this name. While names move between tenants, the one
   * that was put last has them, so that the order of the changes does not matter.
   */
  put(tenant: T): void {
    this.remove(tenant.name);
    this.#set(tenant);
    for (const suffix of tenant.dnsSuffixes) this.#suffixKeys.add(suffixKey(suffix));
    for (const prefix of tenant.spiffePrefixes) this.#prefixes.add(prefix);
  }

  remove(name: string): void {
    const tenant = this.#byName.get(name);
    if (tenant === undefined) return;
    this.#byName.delete(name);
    for (const suffix of tenant.dnsSuffixes) {
      this.#directlyBelow.get(nameAbove(suffix))?.delete(tenant);
      // another tenant may have been put with it since
      if (this.#bySuffix.get(suffix) !== tenant) continue;
      this.#bySuffix.delete(suffix);
      this.#suffixKeys.delete(suffixKey(suffix));
    }
    for (const prefix of tenant.spiffePrefixes) {
      if (this.#byPrefix.get(prefix) !== tenant) continue;
      this.#byPrefix.delete(prefix);
      this.#prefixes.delete(prefix);
    }
  }

  get size(): number {
    return this.#byName.size;
  }

  all(): readonly T[] {
    return [...this.#byName.values()];
  }

  named(name: string): T | undefined {
    return this.#byName.get(name);
  }

  /** The first name that another tenant has too, or above or below its own. */
  overlapOf({ name, dnsSuffixes, spiffePrefixes }: TenantNames): TenantOverlap | undefined {
    for (const own of dnsSuffixes) {
      const above = this.#suffixAbove(own);
      const owner = above === undefined ? undefined : this.#bySuffix.get(above);
      if (above !== undefined && owner !== undefined && owner.name !== name)
        return { tenant: owner.name, own, other: above };
      for (const key of this.#suffixKeys.startingWith(suffixKey(own))) {
        const other = suffixOfKey(key);
        const below = this.#bySuffix.get(other);
        if (below !== undefined && below.name !== name) return { tenant: below.name, own, other };
      }
    }
    for (const own of spiffePrefixes) {
      const above = this.#prefixAbove(own);
      const owner = above === undefined ? undefined : this.#byPrefix.get(above);
      if (above !== undefined && owner !== undefined && owner.name !== name)
        return { tenant: owner.name, own, other: above };
      for (const other of this.#prefixes.startingWith(own)) {
        const below = this.#byPrefix.get(other);
        if (below !== undefined && below.name !== name) return { tenant: below.name, own, other };
      }
    }
    return undefined;
  }

  /** The owner of a DNS name in lower case, or of every name of a wildcard (`*.` before it). */
  ofDnsName(name: string): T | undefined {
    const suffix = this.#suffixAbove(name.startsWith('*.') ? name.slice(2) : name);
    return suffix === undefined ? undefined : this.#bySuffix.get(suffix);
  }

  /**
   * Every tenant that owns a name for which this one stands: its owner, or with a wildcard those
   * whose suffix is the wildcard with one label in its place.
   */
  reachedByDnsName(name: string): readonly T[] {
    const owner = this.ofDnsName(name);
    if (owner !== undefined) return [owner];
    return name.startsWith('*.') ? [...(this.#directlyBelow.get(name.slice(2)) ?? [])] : [];
  }

  /** The owner of a SPIFFE ID. */
  ofSpiffeId(id: string): T | undefined {
    return this.ofSpiffePrefix(id);
  }

  /** The owner of every ID that starts with this text, as those of a template or pattern do. */
  ofSpiffePrefix(prefix: string): T | undefined {
    const above = this.#prefixAbove(prefix);
    return above === undefined ? undefined : this.#byPrefix.get(above);
  }

  /** Every tenant that owns an ID that starts with this text. */
  reachedBySpiffePrefix(prefix: string): readonly T[] {
    const owner = this.ofSpiffePrefix(prefix);
    if (owner !== undefined) return [owner];
    const reached = [...this.#prefixes.startingWith(prefix)];
    return [...new Set(reached.flatMap((own) => this.#byPrefix.get(own) ?? []))];
  }

  #set(tenant: T): void {
    this.#byName.set(tenant.name, tenant);
    for (const suffix of tenant.dnsSuffixes) {
      this.#bySuffix.set(suffix, tenant);
      const above = nameAbove(suffix);
      const below = this.#directlyBelow.get(above);
      if (below === undefined) this.#directlyBelow.set(above, new Set([tenant]));
      else below.add(tenant);
    }
    for (const prefix of tenant.spiffePrefixes) this.#byPrefix.set(prefix, tenant);
  }

  /** The suffix that is the name or above it. */
  #suffixAbove(name: string): string | undefined {
    if (this.#bySuffix.size === 0) return undefined;
    for (let suffix = name; ; suffix = nameAbove(suffix)) {
      if (this.#bySuffix.has(suffix)) return suffix;
      if (!suffix.includes('.')) return undefined;
    }
  }

  #prefixAbove(text: string): string | undefined {
    if (this.#byPrefix.size === 0) return undefined;
    for (
      let slash = text.lastIndexOf('/');
      slash > 'spiffe://'.length;
      slash = text.lastIndexOf('/', slash - 1)
    ) {
      const prefix = text.slice(0, slash + 1);
      if (this.#byPrefix.has(prefix)) return prefix;
    }
    return undefined;
  }
}

function nameAbove(name: string): string {
  return name.slice(name.indexOf('.') + 1);
}

/** `org.example.shop.`: the keys of all names below a suffix start with its own. */
function suffixKey(suffix: string): string {
  return `${suffix.split('.').reverse().join('.')}.`;
}

function suffixOfKey(key: string): string {
  return key.slice(0, -1).split('.').reverse().join('.');
}

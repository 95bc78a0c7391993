import type { Tenant } from './tenant.ts';

/** What of a tenant decides on its names. */
export type NameOwner = Pick<
  Tenant,
  'name' | 'dnsSuffixes' | 'spiffePrefixes' | 'quotaCertificates' | 'quotaSeconds' | 'state'
>;

/** Which tenant owns a name. Immutable. A lookup takes as many steps as the name has labels. */
export class NameOwners<T extends NameOwner = NameOwner> {
  static readonly none = new NameOwners<never>([]);
  readonly #byName = new Map<string, T>();
  readonly #bySuffix = new Map<string, T>();
  /** By the name above a suffix: a wildcard there stands for the suffix too. */
  readonly #directlyBelow = new Map<string, Set<T>>();
  readonly #byPrefix = new Map<string, T>();

  /** Their names are disjoint. */
  constructor(tenants: readonly T[]) {
    for (const tenant of tenants) {
      this.#byName.set(tenant.name, tenant);
      for (const suffix of tenant.dnsSuffixes) {
        this.#bySuffix.set(suffix, tenant);
        const above = suffix.slice(suffix.indexOf('.') + 1);
        const below = this.#directlyBelow.get(above);
        if (below === undefined) this.#directlyBelow.set(above, new Set([tenant]));
        else below.add(tenant);
      }
      for (const prefix of tenant.spiffePrefixes) this.#byPrefix.set(prefix, tenant);
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

  /** The owner of a DNS name in lower case, or of every name of a wildcard (`*.` before it). */
  ofDnsName(name: string): T | undefined {
    if (this.#bySuffix.size === 0) return undefined;
    let suffix = name.startsWith('*.') ? name.slice(2) : name;
    for (;;) {
      const owner = this.#bySuffix.get(suffix);
      if (owner !== undefined) return owner;
      const dot = suffix.indexOf('.');
      if (dot < 0) return undefined;
      suffix = suffix.slice(dot + 1);
    }
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

  /** Every tenant with a name that a pattern matches, where `*` is one label at any place. */
  reachedByDnsPattern(pattern: string): readonly T[] {
    const labels = pattern.split('.');
    return this.all().filter(({ dnsSuffixes }) =>
      dnsSuffixes.some((suffix) => endsWithSuffix(labels, suffix.split('.'))),
    );
  }

  /** The owner of a SPIFFE ID. */
  ofSpiffeId(id: string): T | undefined {
    return this.#abovePath(id);
  }

  /** The owner of every ID that starts with this text, as those of a template or pattern do. */
  ofSpiffePrefix(prefix: string): T | undefined {
    return this.#abovePath(prefix);
  }

  /** Every tenant that owns an ID that starts with this text. */
  reachedBySpiffePrefix(prefix: string): readonly T[] {
    const owner = this.ofSpiffePrefix(prefix);
    if (owner !== undefined) return [owner];
    return this.all().filter(({ spiffePrefixes }) =>
      spiffePrefixes.some((own) => own.startsWith(prefix)),
    );
  }

  #abovePath(text: string): T | undefined {
    if (this.#byPrefix.size === 0) return undefined;
    for (
      let slash = text.lastIndexOf('/');
      slash > 'spiffe://'.length;
      slash = text.lastIndexOf('/', slash - 1)
    ) {
      const owner = this.#byPrefix.get(text.slice(0, slash + 1));
      if (owner !== undefined) return owner;
    }
    return undefined;
  }
}

/** Whether names of this pattern can be the suffix, or below it. */
function endsWithSuffix(pattern: readonly string[], suffix: readonly string[]): boolean {
  const offset = pattern.length - suffix.length;
  return (
    offset >= 0 &&
    suffix.every((label, index) => ['*', label].includes(pattern[offset + index] as string))
  );
}

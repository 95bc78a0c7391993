import type { Selector, SpiffeId } from '../../src/common/spiffe/index.ts';

/**
 * A registration entry as the server synced it to this agent. For a template, `spiffeId` still has
 * its placeholders.
 */
export interface AgentEntry {
  readonly id: string;
  readonly revision: number;
  readonly spiffeId: string;
  readonly selectors: readonly Selector[];
  /** 0 means the server's default. */
  readonly x509TtlSeconds: number;
  readonly jwtTtlSeconds: number;
  readonly hint: string;
  /** Empty: an entry of an older server. With `short` or `classic` it gives names, no identity. */
  readonly profile: string;
  readonly dnsNames: readonly string[];
  /** In canonical text. */
  readonly ips: readonly string[];
  /** 0 means never. */
  readonly expiresAt: number;
  readonly isTemplate: boolean;
  /** Allowed values per placeholder (`unix.user` → [...]). */
  readonly placeholders: ReadonlyMap<string, readonly string[]>;
  readonly createdAt: number;
  /** The place in the order of creation. 0: an entry of an older release, before all others. */
  readonly createdOrder: number;
  /** Names of foreign trust domains whose bundles its processes get. */
  readonly federatesWith: readonly string[];
}

/** An identity that an entry gives to a process. A template is filled in from the selectors. */
export interface Identity {
  readonly entry: AgentEntry;
  readonly spiffeId: SpiffeId;
}

/** What a certificate for names is for. */
export interface Names {
  readonly dnsNames: readonly string[];
  readonly ips: readonly string[];
}

const namesProfiles: readonly string[] = ['short', 'classic'];

/** The names that an entry gives in place of an identity. Undefined: it gives an identity. */
export const namesOf = (entry: AgentEntry | undefined): Names | undefined =>
  entry !== undefined && namesProfiles.includes(entry.profile)
    ? { dnsNames: entry.dnsNames, ips: entry.ips }
    : undefined;

/** The key of SVIDs: stable per entry and filled-in ID. */
export const identityKey = (identity: Identity): string =>
  `${identity.entry.id}\u0000${identity.spiffeId.toString()}`;

export interface NearMiss {
  readonly entry: AgentEntry;
  readonly matched: readonly string[];
  readonly missed: readonly string[];
}

/**
 * The identities that this agent may hand out. Owner of the synced entries; a snapshot replaces
 * them atomically. Indexed by selector, so that a match over 20,000 entries costs microseconds, not
 * a scan.
 */
export interface EntryCache {
  /** False until the first complete snapshot (or one restored from the state directory). */
  synced(): boolean;
  size(): number;
  /**
   * Entries whose selectors are all among these and that have not expired, in the order of their
   * creation. Never an entry for names: it gives nobody an identity.
   */
  match(selectors: readonly Selector[]): readonly Identity[];
  /** The same for the selector of a file target alone, with entries for names. */
  ofTarget(name: string): readonly Identity[];
  /**
   * Selector prefixes (such as `unix:sha256`) whose values decide about an entry whose other
   * selectors all match. Costly facts are gathered only for these prefixes.
   */
  wanted(selectors: readonly Selector[], costlyPrefixes: readonly string[]): ReadonlySet<string>;
  /**
   * The entries that matched the most selectors, best first, without those for names. For operators
   * only.
   */
  nearMisses(selectors: readonly Selector[], limit: number): readonly NearMiss[];
  /** All entries, also those that no process matches now. */
  all(): Iterable<AgentEntry>;
  /** Called after each change is complete. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void;
}

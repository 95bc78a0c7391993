import type { Selector, SpiffeId, TrustDomain } from '../src/common/spiffe/index.ts';

/**
 * A registration entry as the server synced it to this agent. For a template, `spiffeId` still has
 * its placeholders.
 */
export interface AgentEntry {
  readonly id: string;
  readonly revision: number;
  readonly spiffeId: string;
  readonly selectors: readonly Selector[];
  /** 0: the server's default. */
  readonly x509TtlSeconds: number;
  readonly jwtTtlSeconds: number;
  readonly hint: string;
  readonly dnsNames: readonly string[];
  /** 0: never. */
  readonly expiresAt: number;
  readonly isTemplate: boolean;
  /** Allowed values per placeholder (`unix.user` → [...]). */
  readonly placeholders: ReadonlyMap<string, readonly string[]>;
  readonly createdAt: number;
}

/**
 * An entry applied to a process: what it may be. For a template, the ID is filled from the
 * selectors.
 */
export interface Identity {
  readonly entry: AgentEntry;
  readonly spiffeId: SpiffeId;
}

/** Stable per (entry, filled ID): the key under which SVIDs are held. */
export const identityKey = (identity: Identity): string =>
  `${identity.entry.id}\u0000${identity.spiffeId.toString()}`;

export interface NearMiss {
  readonly entry: AgentEntry;
  readonly matched: readonly string[];
  readonly missed: readonly string[];
}

/**
 * What this agent may hand out. Owner of the synced entries; snapshots replace atomically. Indexed
 * by selector: a match over 20,000 entries costs microseconds, not a scan.
 */
export interface EntryCache {
  /** False until the first complete snapshot (or one restored from the state directory). */
  synced(): boolean;
  size(): number;
  /**
   * Entries whose selectors are all among these and that have not expired, oldest first (createdAt,
   * then ID).
   */
  match(selectors: readonly Selector[]): readonly Identity[];
  /**
   * Selector prefixes (such as `unix:sha256`) of which a value is needed to decide about an entry
   * whose other selectors all match: costly facts are gathered only when this names them.
   */
  wanted(selectors: readonly Selector[], costlyPrefixes: readonly string[]): ReadonlySet<string>;
  /** The entries that came closest, most selectors matched first. For operators only. */
  nearMisses(selectors: readonly Selector[], limit: number): readonly NearMiss[];
  /** Called after each change is complete. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void;
}

export interface HeldX509Svid {
  readonly identity: Identity;
  readonly serial: string;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly privateKeyPkcs8Der: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface SvidLease {
  /** The newest SVID, or undefined while the first one is being signed, or after it expired. */
  current(): HeldX509Svid | undefined;
  /**
   * The first SVID; rejects with the PkiError of the refusal or NOT_SYNCED/UNREACHABLE after
   * `signal` or its own deadline.
   */
  ready(signal?: AbortSignal): Promise<HeldX509Svid>;
  onUpdate(listener: (svid: HeldX509Svid) => void): () => void;
  /** The holder has read this SVID: the one it replaced is confirmed as replaced. */
  confirm(serial: string): void;
  release(): void;
}

export interface HeldJwtSvid {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly expiresAt: number;
  readonly hint: string;
}

/**
 * Owner of the workload keys. SVIDs exist for identities in use, and for a bounded number ahead of
 * use (LRU kept warm after release, and entries with few selectors prefetched up to the bound).
 * Concurrent requests for new SVIDs share batches.
 */
export interface SvidManager {
  acquire(identity: Identity, selectors: readonly Selector[]): SvidLease;
  fetchJwt(
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid>;
}

export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly sequence: number;
  /** Root certificates, DER. */
  readonly rootsDer: readonly Buffer[];
  /** JWKS text with the JWT authorities alone, as FetchJWTBundles hands it out. */
  readonly jwksJson: string;
  /** SHA-256 over the sorted SHA-256 digests of the roots. */
  readonly authoritySetDigest: Buffer;
  /** The same over the SubjectPublicKeyInfo of the JWT authorities. */
  readonly jwtSetDigest: Buffer;
}

export interface BundleSource {
  current(): TrustBundle | undefined;
  /** Bundles of other trust domains, by name. */
  federated(): ReadonlyMap<string, TrustBundle>;
  /**
   * CRLs of the own trust domain in DER, a complete set or none. One object until it changes, which
   * `onChange` tells.
   */
  crls(): readonly Buffer[];
  onChange(listener: () => void): () => void;
}

export interface ConsumerDescription {
  readonly kind: 'workload-stream' | 'proxy' | 'files' | 'agent';
  readonly spiffeId: string;
  /** Names the holder to a person: process, user, path. No secrets. */
  readonly description: string;
  /** Which set its digests are of; default `roots`. */
  readonly takes?: 'roots' | 'jwt';
  /**
   * Names the process while it lives (pid and start time): what it reads later counts for what it
   * left behind.
   */
  readonly holder?: string;
}

/**
 * One report line towards the server per consumer of this agent; see SyncUp.ConsumerReport. Owner:
 * the consumer registry.
 */
export interface ConsumerRegistry {
  register(consumer: ConsumerDescription): ConsumerHandle;
}

export interface ConsumerHandle {
  /** Of the line, as the server knows it; empty if it is not reported. */
  readonly id: string;
  /** Sent, not yet proven as read. */
  pending(setDigest: Buffer): void;
  confirmed(setDigest: Buffer): void;
  refused(setDigest: Buffer, reason: string): void;
  /**
   * It was given a certificate that ends then (Unix seconds, inclusive): until then it may be in
   * use, whatever becomes of the holder.
   */
  given(notAfter: number): void;
  /** `enforces-crl`, `reports-handshakes` and the like. */
  capable(capabilities: readonly string[]): void;
  /**
   * It took nothing and was cut off: it stays, by name, until the same process reads again or what
   * it was given has expired.
   */
  stalled(reason: string): void;
  /**
   * It left. What it was given counts as held until it has expired, or the same process has read
   * something newer.
   */
  remove(): void;
}

/** What a process took along that left its stream, or was cut off from it. */
export interface Left {
  readonly spiffeId: string;
  readonly takes: 'roots' | 'jwt';
  readonly state: 'pending' | 'confirmed';
  /** Hex; what it held last, as far as that was proven for `confirmed`. */
  readonly digest: string;
  readonly description: string;
  readonly holder: string;
  /** End of the last certificate that it was given (Unix seconds, inclusive). */
  readonly until: number;
}

/** What one client of the Workload API counted against one issuer since `since`. */
export interface HandshakeCount {
  /** The consumer's line that the client belongs to. */
  readonly consumerId: string;
  readonly spiffeId: string;
  readonly issuerKeyId: Buffer;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly since: number;
}

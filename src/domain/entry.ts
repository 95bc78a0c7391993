import type { EntryProfile } from './certificate.ts';
import type { Selector } from '../common/spiffe/index.ts';

export interface RegistrationEntry {
  /** At most 64 characters of [A-Za-z0-9._-]. The creator chooses it, or it is a UUIDv7. */
  readonly id: string;
  /**
   * A SPIFFE ID, or a template with placeholders such as `{unix.user}`. With a names profile it is
   * the identity that owns the certificate, and is not in it.
   */
  readonly spiffeId: string;
  readonly isTemplate: boolean;
  /** The allowed values per placeholder. Empty unless it is a template. */
  readonly placeholders: Readonly<Record<string, readonly string[]>>;
  /**
   * The ID of an agent, of a node set, or of the server. With the server as parent, this entry
   * itself defines a node set.
   */
  readonly parentId: string;
  /** All selectors must match. Sorted and unique. */
  readonly selectors: readonly Selector[];
  /** 0: the server's default. */
  readonly x509TtlSeconds: number;
  readonly jwtTtlSeconds: number;
  /** A names profile: the certificate has the names below and no SPIFFE ID. */
  readonly profile: EntryProfile;
  readonly dnsNames: readonly string[];
  /** IP addresses in canonical text. Empty unless the profile is one of names. */
  readonly ips: readonly string[];
  readonly hint: string;
  /** 0: never. */
  readonly expiresAt: number;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly allowWeakSelectors: boolean;
  /** Names of foreign trust domains whose bundles its processes get. Sorted and unique. */
  readonly federatesWith: readonly string[];
  /** The revision of the store at its last change. */
  readonly revision: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly createdBy: string;
  /**
   * The place in the order of creation: among entries of one file, their order in the file. 0 for
   * an entry of an older release, which comes before all others.
   */
  readonly createdOrder: number;
}

/** The fields that a creator states. The store adds revision and times. */
export type EntryDraft = Omit<
  RegistrationEntry,
  'revision' | 'createdAt' | 'updatedAt' | 'createdBy' | 'createdOrder'
>;

import type { WorkloadProfile } from './certificate.ts';
import type { Selector } from '../common/spiffe/index.ts';

export interface RegistrationEntry {
  /** [A-Za-z0-9._-], up to 64; chosen by the creator or a UUIDv7. */
  readonly id: string;
  /** A SPIFFE ID, or a template with placeholders such as `{unix.user}`. */
  readonly spiffeId: string;
  readonly isTemplate: boolean;
  /** Allowed values per placeholder; empty unless a template. */
  readonly placeholders: Readonly<Record<string, readonly string[]>>;
  /**
   * An agent's ID, a node set's ID, or the server's ID when this entry itself defines a node set.
   */
  readonly parentId: string;
  /** All must match. Sorted, unique. */
  readonly selectors: readonly Selector[];
  /** 0: the server's default. */
  readonly x509TtlSeconds: number;
  readonly jwtTtlSeconds: number;
  readonly profile: WorkloadProfile;
  readonly dnsNames: readonly string[];
  readonly hint: string;
  /** 0: never. */
  readonly expiresAt: number;
  readonly admin: boolean;
  readonly downstream: boolean;
  readonly allowWeakSelectors: boolean;
  /** Revision of the store at its last change. */
  readonly revision: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly createdBy: string;
}

/** What a creator states; the store adds revision and times. */
export type EntryDraft = Omit<
  RegistrationEntry,
  'revision' | 'createdAt' | 'updatedAt' | 'createdBy'
>;

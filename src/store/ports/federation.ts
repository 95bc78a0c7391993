import type { AuditEvent, FederationRelationship, ForeignBundle } from '../../domain/index.ts';

/** The relationships with foreign trust domains, and the bundle of each as it was accepted last. */
export interface FederationStore {
  /** By trust domain. There are few. Reads prove nothing. */
  relationships(): Promise<readonly FederationRelationship[]>;
  bundles(): Promise<readonly ForeignBundle[]>;
  /**
   * Creates a relationship, with the bundle that an operator has brought. ALREADY_EXISTS; CONFLICT
   * if there are `limit` of them.
   */
  create(
    relationship: FederationRelationship,
    bundle: ForeignBundle | undefined,
    options: {
      readonly limit: number;
      readonly event: AuditEvent;
      readonly accepted: AuditEvent;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<void>;
  /**
   * Replaces the bundle of the relationship with the ID in the bundle. `held`: the sequence and the
   * time of receipt of the bundle that it was compared with; undefined: none. NOT_FOUND if the
   * relationship is gone or another one; CONFLICT if another bundle is held meanwhile. A row that
   * differs from the log is replaced.
   */
  accept(
    bundle: ForeignBundle,
    held: Pick<ForeignBundle, 'sequence' | 'documentSha256'> | undefined,
    event: AuditEvent,
  ): Promise<void>;
  /** Deletes the relationship and its bundle, also where their rows were altered. NOT_FOUND. */
  delete(
    trustDomain: string,
    events: { readonly event: AuditEvent; readonly withdrawn: AuditEvent },
  ): Promise<void>;
}

import type {
  CertificateKind,
  CertificateRecord,
  CertificateState,
  OperationState,
} from '../domain/index.ts';
import type { AcmeTables } from './acme-schema.ts';
import type { OcspAnswerTable } from './ocsp-schema.ts';
import type { FederationTable, ForeignBundleTable } from './federation-schema.ts';

/**
 * The tables as kysely sees them. The DDL is in the migrations of each engine. Digests, serials and
 * DER are bytes. Lists and records are JSON text. Flags are 0 or 1. Instants are Unix seconds
 * unless the name ends in `_ms`.
 */
export interface Schema extends AcmeTables {
  readonly meta: MetaTable;
  readonly certificates: CertificateTable;
  readonly certificate_names: { readonly name: string; readonly serial: Uint8Array };
  readonly certificate_counts: { readonly state: CertificateState; readonly count: number };
  readonly jwt_svids: JwtSvidTable;
  readonly authorities: AuthorityTable;
  readonly rotations: RotationTable;
  readonly bundles: {
    readonly sequence: number;
    readonly document: string;
    readonly jws: string;
    readonly created_at: number;
  };
  readonly entries: EntryTable;
  readonly entry_selectors: { readonly entry_id: string; readonly selector: string };
  readonly entry_removals: {
    readonly position: number;
    readonly revision: number;
    readonly parent_id: string;
    readonly entry_id: string;
  };
  readonly agents: AgentTable;
  readonly agent_lines: AgentLineTable;
  readonly consumers: ConsumerTable;
  readonly join_tokens: JoinTokenTable;
  readonly token_uses: TokenUseTable;
  readonly federation: FederationTable;
  readonly foreign_bundles: ForeignBundleTable;
  readonly blocked_keys: BlockedKeyTable;
  readonly delegations: DelegationTable;
  readonly issuance_policies: IssuancePolicyTable;
  readonly roles: RoleTable;
  readonly revocations: RevocationTable;
  readonly crls: CrlTable;
  readonly ocsp_answers: OcspAnswerTable;
  readonly audit: AuditTable;
  readonly leases: {
    readonly name: string;
    readonly holder: string;
    readonly fence: number;
    readonly expires_at_ms: number;
  };
  readonly log_head: { readonly id: number; readonly size: number; readonly sequence: number };
  readonly log_runs: {
    readonly first_index: number;
    readonly first_sequence: number;
    readonly length: number;
  };
  readonly log_excluded: {
    readonly sequence: number;
    readonly reason: string;
    readonly found_at: number;
  };
  readonly log_tiles: {
    readonly level: number;
    readonly position: number;
    readonly hashes: Uint8Array;
  };
  readonly log_checkpoints: {
    readonly size: number;
    readonly root: Uint8Array;
    readonly note: string;
    readonly time_ms: number;
  };
  readonly log_sessions: {
    readonly id: string;
    readonly spki_der: Uint8Array;
    readonly signature: Uint8Array;
    readonly signer: string;
    readonly started_at_ms: number;
  };
  readonly log_seals: {
    readonly last_sequence: number;
    readonly first_sequence: number;
    readonly session_id: string;
    readonly signature: Uint8Array;
    readonly previous_sequence: number | null;
  };
  readonly log_snapshots: {
    readonly size: number;
    readonly root: Uint8Array;
    readonly sequence: number;
    readonly parts: number;
    readonly digest: Uint8Array;
    readonly signature: Uint8Array;
    readonly time_ms: number;
  };
  readonly log_snapshot_parts: {
    readonly size: number;
    readonly position: number;
    readonly content: Uint8Array;
  };
  readonly approval_policy: PolicyTable;
  readonly operations: OperationTable;
  readonly activation_evidence: {
    readonly sha256: string;
    readonly authority_id: string;
    readonly created_at: number;
    readonly statement: Uint8Array;
  };
  readonly activation_evidence_parts: {
    readonly sha256: string;
    readonly position: number;
    readonly deflated: Uint8Array;
  };
}
export type TableName = keyof Schema;

/** One row. `horizon`: removals of entries up to this revision were pruned. */
export interface MetaTable {
  readonly id: number;
  readonly trust_domain: string | null;
  readonly epoch: string;
  readonly revision: number;
  readonly horizon: number;
  readonly claimed_at: number | null;
}

export interface CertificateTable {
  readonly sequence: number;
  readonly serial: Uint8Array;
  readonly spiffe_id: string;
  readonly kind: CertificateKind;
  readonly profile: CertificateRecord['profile'];
  readonly state: CertificateState;
  readonly state_reason: string | null;
  readonly entry_id: string | null;
  readonly delegation_id: string | null;
  readonly requester: string;
  readonly holder: string;
  readonly public_key_sha256: Uint8Array;
  readonly request_id: string;
  /** See request-key.ts. */
  readonly request_key: Uint8Array | null;
  readonly authority_id: string;
  readonly created_at_ms: number;
  readonly not_before: number;
  readonly not_after: number;
  readonly sha256: Uint8Array | null;
  readonly replaces: Uint8Array | null;
  readonly replaced_by: Uint8Array | null;
  readonly replacement_confirmed_at: number | null;
  /** Kept while the state is `intent` or `abandoned`. */
  readonly tbs_der: Uint8Array | null;
  readonly certificate_der: Uint8Array | null;
  /** The shard of CRLs that it names; 0: none. */
  readonly shard: number;
  readonly tenant: string | null;
}

export interface JwtSvidTable {
  readonly sequence: number;
  readonly jti: string;
  readonly subject: string;
  readonly audience: string;
  readonly issued_at: number;
  readonly expires_at: number;
  readonly authority_id: string;
  readonly entry_id: string;
  readonly holder: string;
}

export interface AuthorityTable {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly version: number;
  readonly key_type: string;
  readonly token: string;
  readonly cka_id: string;
  readonly parent_id: string | null;
  readonly scope: string;
  readonly spki_der: Uint8Array | null;
  readonly certificate_der: Uint8Array | null;
  readonly subject_key_id: string | null;
  readonly not_before: number;
  readonly not_after: number;
  readonly created_at: number;
  readonly activated_at: number | null;
  readonly tainted_at: number | null;
  readonly published_at: number | null;
  readonly taint_window_seconds: number | null;
  readonly highest_jwt_expiry: number;
}

export interface RotationTable {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly version: number;
  readonly spec: string;
  readonly created_by: string;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface EntryTable {
  readonly id: string;
  readonly spiffe_id: string;
  readonly is_template: number;
  readonly placeholders: string;
  readonly parent_id: string;
  readonly selectors: string;
  /** SHA-256 over the sorted selectors. */
  readonly selectors_sha256: Uint8Array;
  readonly x509_ttl_seconds: number;
  readonly jwt_ttl_seconds: number;
  readonly profile: string;
  readonly dns_names: string;
  readonly hint: string;
  readonly expires_at: number;
  readonly admin: number;
  readonly downstream: number;
  readonly allow_weak_selectors: number;
  readonly federates_with: string;
  readonly ips: string;
  readonly revision: number;
  readonly created_at: number;
  readonly updated_at: number;
  readonly created_by: string;
  readonly created_order: number;
}

export interface AgentTable {
  readonly spiffe_id: string;
  readonly attestation_type: string;
  readonly selectors: string;
  readonly state: string;
  readonly state_reason: string;
  readonly generation: number;
  readonly serial: Uint8Array;
  readonly spki_der: Uint8Array;
  readonly attested_at: number;
  readonly renewed_at: number;
  readonly svid_not_after: number;
  readonly last_seen_at: number;
  readonly version: string;
  readonly survived_outage_seconds: number;
}

export interface AgentLineTable {
  readonly spiffe_id: string;
  readonly svids: string;
  readonly in_use: string | null;
  readonly kept: string | null;
}

export interface ConsumerTable {
  readonly agent_id: string;
  readonly id: string;
  readonly kind: string;
  readonly spiffe_id: string;
  readonly authority_set_digest: string;
  readonly jwt_set_digest: string;
  readonly issuer_set_digest: string;
  readonly capabilities: string;
  readonly state: string;
  readonly reason: string;
  readonly since: number;
  readonly description: string;
}

export interface JoinTokenTable {
  readonly id: string;
  readonly token_sha256: Uint8Array;
  readonly agent_id: string;
  readonly node_selectors: string;
  readonly expires_at: number;
  readonly bound_public_key_sha256: Uint8Array | null;
  readonly used_at: number | null;
  readonly result_serial: Uint8Array | null;
  readonly created_by: string;
  readonly created_at: number;
}

export interface TokenUseTable {
  readonly id: Uint8Array;
  readonly issuer: string;
  readonly subject: string;
  readonly grantee: string;
  readonly public_key_sha256: Uint8Array;
  readonly used_at: number;
  readonly expires_at: number;
  readonly serial: Uint8Array | null;
  readonly ended_at: number | null;
}

export interface BlockedKeyTable {
  readonly public_key_sha256: Uint8Array;
  readonly reason: string;
  readonly blocked_at: number;
  readonly blocked_by: string;
}

export interface IssuancePolicyTable {
  readonly version: number;
  readonly text: string;
  readonly sha256: Uint8Array;
  readonly reason: string;
  readonly activated_at: number;
  readonly activated_by: string;
}

export interface DelegationTable {
  readonly id: string;
  readonly client_id: string;
  readonly patterns: string;
  readonly max_ttl_seconds: number;
  readonly key_types: string;
  readonly dns_patterns: string;
  readonly ip_ranges: string;
  readonly wildcards: number;
  readonly profile: string;
  readonly expires_at: number;
  readonly revoked_at: number | null;
  readonly created_at: number;
  readonly created_by: string;
}

export interface RoleTable {
  readonly name: string;
  readonly verbs: string;
  readonly prefixes: string;
  readonly members: string;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface AuditTable {
  readonly sequence: number;
  readonly time_ms: number;
  /**
   * Highest `time_ms` up to this row: grows with the sequence even where the wall clock does not.
   */
  readonly time_high_ms: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  readonly canonical: Uint8Array;
  readonly sha256: Uint8Array;
}

export interface PolicyTable {
  readonly id: number;
  readonly version: number;
  readonly policy: string;
  readonly updated_at: number;
  readonly updated_by: string;
}

export interface OperationTable {
  readonly id: string;
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly method: string;
  readonly proposer: string;
  readonly created_at: number;
  readonly expires_at: number;
  readonly state: OperationState;
  readonly approvals: string;
  readonly outcome: string;
  readonly evidence: string;
  readonly decided_at: number;
  readonly updated_at: number;
}

export interface RevocationTable {
  readonly serial: Uint8Array;
  readonly authority_id: string;
  readonly reason: string;
  readonly revoked_at: number;
  readonly revoked_by: string;
  readonly not_after: number;
  readonly shard: number;
}

export interface CrlTable {
  readonly authority_id: string;
  readonly shard: number;
  readonly number: number;
  readonly this_update: number;
  readonly next_update: number;
  readonly der: Uint8Array;
}

export interface FederationTable {
  readonly trust_domain: string;
  readonly id: string;
  readonly endpoint_url: string;
  readonly endpoint_profile: string;
  readonly endpoint_spiffe_id: string;
  readonly web_roots: string;
  readonly created_at: number;
  readonly created_by: string;
}

export interface ForeignBundleTable {
  readonly trust_domain: string;
  readonly relationship_id: string;
  readonly sequence: number;
  readonly refresh_hint_seconds: number;
  readonly roots: string;
  readonly jwt_keys: string;
  readonly document_sha256: string;
  readonly received_at: number;
}

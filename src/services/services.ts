import type { ApprovalGate, Approvals, ApprovalSights } from './approvals/index.ts';
import type { NodeAttestation } from './attestation/node-attestation.ts';
import type {
  AuthoritySourcing,
  AuthorityViews,
  CrlViews,
  Rotation,
} from './authorities/authorities.ts';
import type { Callers, Refusals } from './callers/callers.ts';
import type { AcmeAccounts, AcmeOrders, EabExchange, EabKeys } from './acme/operator-acme.ts';
import type { Agents } from './agents/agents.ts';
import type { Audit } from './inspection/audit.ts';
import type { Backup } from './inspection/backup.ts';
import type { Certificates } from './inspection/certificates.ts';
import type { Restore } from './inspection/restore.ts';
import type { Revocations } from './inspection/revocations.ts';
import type { Status } from './inspection/status.ts';
import type { Keys } from './revoking/keys.ts';
import type { SelectionRevocations } from './revoking/selection-revocations.ts';
import type { Downstream } from './issuing/downstream.ts';
import type { Mint } from './issuing/mint.ts';
import type { Names } from './issuing/names.ts';
import type { SignStreams } from './issuing/sign-streams.ts';
import type { Signing } from './issuing/signing.ts';
import type { Svids } from './issuing/svids.ts';
import type { Federation } from './federation/federation.ts';
import type { Delegations } from './registration/delegations.ts';
import type { Entries } from './registration/entries.ts';
import type { Tokens } from './registration/join-tokens.ts';
import type { Policies } from './policies/policies.ts';
import type { PolicyReviews } from './policies/policy-reviews.ts';
import type { Roles } from './registration/roles.ts';
import type { Sync } from './sync/sync.ts';
import type { Tenants } from './tenants/tenants.ts';
import type { Targets } from './targets/targets.ts';
import type { Pipelines } from './tokens/pipelines.ts';
import type { Watch } from './watching/watch.ts';

export type * from './acme/operator-acme.ts';
export type * from './callers/callers.ts';
export type * from './attestation/node-attestation.ts';
export type * from './agents/agents.ts';
export type * from './authorities/authorities.ts';
export type * from './inspection/audit.ts';
export type * from './inspection/backup.ts';
export type * from './inspection/certificates.ts';
export type * from './inspection/restore.ts';
export type * from './inspection/revocations.ts';
export type * from './inspection/status.ts';
export type * from './revoking/keys.ts';
export type * from './revoking/selection-revocations.ts';
export type * from './issuing/downstream.ts';
export type * from './issuing/mint.ts';
export type * from './issuing/names.ts';
export type * from './issuing/sign-streams.ts';
export type * from './issuing/signing.ts';
export type * from './issuing/svids.ts';
export type * from './policies/policies.ts';
export type * from './policies/policy-reviews.ts';
export type * from './federation/federation.ts';
export type * from './tenants/tenants.ts';
export type * from './registration/delegations.ts';
export type * from './registration/entries.ts';
export type * from './registration/join-tokens.ts';
export type * from './registration/roles.ts';
export type * from './sync/sync.ts';
export type * from './targets/targets.ts';
export type * from './tokens/pipelines.ts';
export type * from './watching/watch.ts';

/**
 * The services that the front calls. Every method takes its caller first and checks the caller's
 * rights itself: the front's table of classes is the first check, this is the second. Methods throw
 * PkiError with a stable code; batches answer per item. A refusal of an authenticated caller is
 * recorded before the error is thrown (see Refusals).
 */
export interface Services {
  readonly callers: Callers;
  readonly refusals: Refusals;
  readonly attestation: NodeAttestation;
  readonly svids: Svids;
  readonly sync: Sync;
  readonly signing: Signing;
  readonly signStreams: SignStreams;
  readonly watch: Watch;
  readonly downstream: Downstream;
  readonly pipelines: Pipelines;
  readonly entries: Entries;
  readonly agents: Agents;
  readonly tokens: Tokens;
  readonly delegations: Delegations;
  readonly federation: Federation;
  readonly roles: Roles;
  readonly tenants: Tenants;
  readonly eabKeys: EabKeys;
  readonly eabExchange: EabExchange;
  readonly acmeAccounts: AcmeAccounts;
  readonly acmeOrders: AcmeOrders;
  readonly policies: Policies;
  readonly policyReviews: PolicyReviews;
  readonly targets: Targets;
  readonly approvals: Approvals;
  readonly gate: ApprovalGate;
  readonly sights: ApprovalSights;
  readonly authorities: AuthorityViews;
  readonly authoritySources: AuthoritySourcing;
  readonly rotation: Rotation;
  readonly crls: CrlViews;
  readonly certificates: Certificates;
  readonly revocations: Revocations;
  readonly selections: SelectionRevocations;
  readonly keys: Keys;
  readonly mint: Mint;
  readonly names: Names;
  readonly audit: Audit;
  readonly status: Status;
  readonly backup: Backup;
  readonly restore: Restore;
}

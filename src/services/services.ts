import type { ApprovalGate, Approvals, ApprovalSights } from './approvals/index.ts';
import type { NodeAttestation } from './attestation/node-attestation.ts';
import type {
  AuthoritySourcing,
  AuthorityViews,
  CrlViews,
  Rotation,
} from './authorities/authorities.ts';
import type { Callers, Refusals } from './callers/callers.ts';
import type {
  Audit,
  Backup,
  Certificates,
  Mint,
  Restore,
  Revocations,
  Status,
} from './inspection/certificates.ts';
import type { Downstream, Signing, Svids } from './issuing/svids.ts';
import type { Agents, Delegations, Entries, Roles, Tokens } from './registration/entries.ts';
import type { Sync } from './sync/sync.ts';

export type * from './callers/callers.ts';
export type * from './attestation/node-attestation.ts';
export type * from './issuing/svids.ts';
export type * from './sync/sync.ts';
export type * from './registration/entries.ts';
export type * from './authorities/authorities.ts';
export type * from './inspection/certificates.ts';

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
  readonly downstream: Downstream;
  readonly entries: Entries;
  readonly agents: Agents;
  readonly tokens: Tokens;
  readonly delegations: Delegations;
  readonly roles: Roles;
  readonly approvals: Approvals;
  readonly gate: ApprovalGate;
  readonly sights: ApprovalSights;
  readonly authorities: AuthorityViews;
  readonly authoritySources: AuthoritySourcing;
  readonly rotation: Rotation;
  readonly crls: CrlViews;
  readonly certificates: Certificates;
  readonly revocations: Revocations;
  readonly mint: Mint;
  readonly audit: Audit;
  readonly status: Status;
  readonly backup: Backup;
  readonly restore: Restore;
}

import type { KeyObject } from 'node:crypto';
import type { Credential } from '../../test/support/server.ts';
import type { AcmeVictims } from './acme.ts';
import type { Approval } from './approvals.ts';
import type { Jobs } from './jobs.ts';

/** Somebody of every kind whom the log refuses, and the healthy ones beside them. */
export interface Victims {
  readonly key: KeyObject;
  readonly issuingId: string;
  readonly healthy: Credential;
  readonly banned: Credential;
  readonly evicted: Credential;
  /** The certificate of a session that another one replaced. */
  readonly robbed: Credential;
  /** Each may renew every 5 s. */
  readonly renewing: readonly Credential[];
  /** Its SVID has expired. */
  readonly asleep: Credential;
  /** It is banned and un-banned again and again. */
  readonly cycled: Credential;
  /** Workloads that may have a CA of their own, each every 30 s, and one that may not. */
  readonly nested: readonly Nested[];
  readonly plain: Credential;
  /** It is banned and evicted, for the change alone. */
  readonly nudged: Credential;
  /** Every authority with its state. */
  readonly states: ReadonlySet<string>;
  /** The JWT authority that signs. */
  readonly jwtId: string;
  readonly istiod: Credential;
  /** Its delegation was revoked. */
  readonly former: Credential;
  readonly reader: Credential;
  readonly stranger: Credential;
  readonly revoked: Credential;
  readonly tokens: { readonly used: string; readonly revoked: string; readonly banned: string };
  readonly jobs: Jobs;
  readonly replayed: Approval;
  readonly executed: Approval;
  readonly acme: AcmeVictims;
}

export interface Nested {
  readonly entryId: string;
  readonly credential: Credential;
}

import type { ErrorCode } from '../common/errors/index.ts';
import type { AcmeAccountStatus, EabKeySource } from './acme/account.ts';
import type { AcmeOrder } from './acme/order.ts';
import type { AgentState } from './agent.ts';
import type { AgentLine } from './agent-line.ts';
import type { AuthorityState } from './authority.ts';
import type { CertificateState } from './certificate.ts';
import type { Tenant } from './tenant.ts';

/** The rows that rights read: the needed part of each. */
export interface RightRows {
  readonly authority: { readonly state: AuthorityState };
  readonly entry: { readonly revision: number; readonly expiresAt: number };
  readonly agent: { readonly state: AgentState; readonly generation: number };
  /** The line of an agent, by its SPIFFE ID. */
  readonly 'agent-line': { readonly line: AgentLine };
  readonly delegation: { readonly revokedAt: number | null; readonly expiresAt: number };
  readonly certificate: {
    readonly state: CertificateState;
    readonly notBefore: number;
    readonly notAfter: number;
    readonly revoked: boolean;
  };
  /** A public key, by its SHA-256. */
  readonly 'public-key': { readonly blocked: boolean };
  /** The present policy of issuance. Its key is empty. */
  readonly policy: { readonly version: number };
  /** The places of a quota that are taken, by its counter: when each is free again. */
  readonly quota: { readonly ends: readonly number[] };
  /** A tenant, by its name. */
  readonly tenant: { readonly state: Tenant['state'] };
  /** A key for external account binding. */
  readonly 'eab-key': {
    readonly revokedAt: number | null;
    readonly expiresAt: number;
    readonly source: EabKeySource | null;
  };
  readonly 'acme-account': { readonly status: AcmeAccountStatus };
  readonly 'acme-order': {
    readonly version: number;
    readonly stage: AcmeOrder['stage'];
    readonly authorizations: readonly Pick<
      AcmeOrder['authorizations'][number],
      'identifier' | 'status'
    >[];
  };
}
export type RightNoun = keyof RightRows;

/**
 * Receives the noun and key of each row that a right reads. Returns the row as `ReadRow` does, since
 * a row may name others.
 */
export type WantRow = ReadRow;
/**
 * Reads a requested row; undefined: there is none. `unproven`: the log has another value, or has
 * one where there is no row.
 */
export type ReadRow = <N extends RightNoun>(
  noun: N,
  key: string,
) => RightRows[N] | 'unproven' | undefined;
/** The same for rows that are proven. A row that is not counts as none, and is remembered. */
export type ReadProven = <N extends RightNoun>(noun: N, key: string) => RightRows[N] | undefined;

export interface RightEnded {
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * A kind of right. `rows` names every row that `ended` reads, so that an engine can lock and read
 * the rows of a whole batch before the judgement. `ended` is pure.
 */
export interface RightKind<R> {
  rows(right: R, want: WantRow): void;
  /** Why the right no longer stands at `now` (Unix seconds). Undefined: it stands. */
  ended(right: R, read: ReadProven, now: number): RightEnded | undefined;
}

export const ended = (code: ErrorCode, message: string): RightEnded => ({ code, message });

/** `expiresAt` 0 means never. */
export const isOver = (expiresAt: number, now: number): boolean =>
  expiresAt !== 0 && expiresAt <= now;

import { createHash } from 'node:crypto';

/** The kinds of stored objects to which a record may commit, because signatures rest on them. */
export const logObjectKinds = [
  'entry',
  'delegation',
  'role',
  'authority',
  'agent',
  'join-token',
  'bundle',
  'rotation',
  'approval-policy',
  'issuance-policy',
  'operation',
  'revocation',
  'crl',
  'agent-line',
  'clock',
  'token-use',
  'federation',
  'foreign-bundle',
  'blocked-key',
  'tenant',
  'eab-key',
  'acme-account',
  'acme-order',
] as const;
export type LogObjectKind = (typeof logObjectKinds)[number];

/**
 * Part of the record's canonical bytes. `sha256`: over the row's text; empty if the object was
 * deleted.
 */
export interface LogObject {
  readonly kind: LogObjectKind;
  readonly id: string;
  readonly sha256: string;
}

/** A look at an object in the database that differs from the log. */
export interface ObjectMismatch {
  /**
   * `certificate`: the row differs from the record of its issuance. `consumer`: the row differs
   * from what this process received over a session. `activation-evidence`: the evidence differs
   * from the record of the activation.
   */
  readonly kind: LogObjectKind | 'certificate' | 'consumer' | 'activation-evidence';
  readonly id: string;
  /** The log has no record, a record of the deletion, or a record of another state. */
  readonly found: 'absent' | 'deleted' | 'differs';
}

export const logObjectDigest = (text: string): string =>
  createHash('sha256').update('meshca-object-v1\n').update(text).digest('hex');

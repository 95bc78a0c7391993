import { createHash } from 'node:crypto';

/** What a record may commit to as it is stored, because something is signed on its strength. */
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
  'operation',
  'revocation',
  'crl',
  'agent-line',
] as const;
export type LogObjectKind = (typeof logObjectKinds)[number];

/**
 * Stands in the record's canonical bytes. `sha256`: over the row's text, or empty when the object
 * was deleted.
 */
export interface LogObject {
  readonly kind: LogObjectKind;
  readonly id: string;
  readonly sha256: string;
}

/** A look at something in the database that is not as the log has it. */
export interface ObjectMismatch {
  /**
   * `certificate`: the record of its issuance says something else than its row; `consumer`: what
   * this process was told over a session; `activation-evidence`: what the record of an activation
   * commits to.
   */
  readonly kind: LogObjectKind | 'certificate' | 'consumer' | 'activation-evidence';
  readonly id: string;
  /** No record at all, a record of its deletion, or a record of another state. */
  readonly found: 'absent' | 'deleted' | 'differs';
}

export const logObjectDigest = (text: string): string =>
  createHash('sha256').update('meshca-object-v1\n').update(text).digest('hex');

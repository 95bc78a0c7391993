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

export const logObjectDigest = (text: string): string =>
  createHash('sha256').update('meshca-object-v1\n').update(text).digest('hex');

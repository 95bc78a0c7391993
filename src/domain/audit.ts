import { createHash } from 'node:crypto';

/**
 * One act on record. The canonical bytes are what is hashed and what a later Merkle tree holds as its leaf, so they never
 * change for a version.
 */
export interface AuditEvent {
  /** Unix milliseconds. */
  readonly timeMs: number;
  /** A SPIFFE ID, `uid:N`, or `server`. */
  readonly actor: string;
  /** `noun.verb`, for example `certificate.issued`, `entry.created`, `agent.banned`, `request.refused`. */
  readonly kind: string;
  /** What it was done to: a SPIFFE ID, serial or object ID. */
  readonly subject: string;
  /** The reasons and particulars. Strings, whole numbers, booleans and lists of strings. Never a secret. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}
export type AuditValue = string | number | boolean | readonly string[];

export interface AuditRecord {
  /** Order of the row; the index in the tree is given later by the sequencer. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  readonly canonical: Buffer;
  readonly sha256: string;
}

const version = 'meshca-audit-v1\n';

/** Version line, then the event as JSON in canonical form (RFC 8785: keys sorted, no white space). */
export function canonicalBytes(event: AuditEvent): Buffer {
  const detail: Record<string, AuditValue> = {};
  for (const key of Object.keys(event.detail).sort()) detail[key] = event.detail[key] as AuditValue;
  const ordered = { actor: event.actor, detail, kind: event.kind, subject: event.subject, timeMs: event.timeMs };
  return Buffer.from(version + JSON.stringify(ordered), 'utf8');
}

/** SHA-256 over 0x00 and the canonical bytes: the leaf hash of RFC 6962 section 2.1. */
export const leafHash = (canonical: Buffer): Buffer => createHash('sha256').update(leafPrefix).update(canonical).digest();

const leafPrefix = Buffer.from([0]);

import type { LogObject } from './log-object.ts';

export { leafHash } from '../common/tlog/index.ts';

/**
 * One recorded act. The canonical bytes are hashed, and are a leaf of the Merkle tree. Therefore
 * they never change for a version.
 */
export interface AuditEvent {
  /** Unix milliseconds. */
  readonly timeMs: number;
  /** A SPIFFE ID, `uid:N`, or `server`. */
  readonly actor: string;
  /**
   * `noun.verb`, for example `certificate.issued`, `entry.created`, `agent.banned`,
   * `request.refused`.
   */
  readonly kind: string;
  /** The object of the act: a SPIFFE ID, serial or object ID. */
  readonly subject: string;
  /** Reasons and details: strings, whole numbers, booleans and lists of strings. Never a secret. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}
export type AuditValue = string | number | boolean | readonly string[];

export interface AuditRecord {
  /** The order of the row. The sequencer assigns the index in the tree later. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  readonly canonical: Buffer;
  readonly sha256: string;
}

const version = 'meshca-audit-v1\n';

/**
 * A version line, then the event as canonical JSON (RFC 8785: keys sorted, no white space).
 * `object`: the row that the act wrote. The row then counts only as it is stated here.
 */
export function canonicalBytes(event: AuditEvent, object?: LogObject): Buffer {
  const detail: Record<string, AuditValue> = {};
  for (const key of sortedKeys(event.detail)) detail[key] = event.detail[key] as AuditValue;
  const { actor, kind, subject, timeMs } = event;
  const ordered =
    object === undefined
      ? { actor, detail, kind, subject, timeMs }
      : {
          actor,
          detail,
          kind,
          object: { id: object.id, kind: object.kind, sha256: object.sha256 },
          subject,
          timeMs,
        };
  return Buffer.from(version + JSON.stringify(ordered), 'utf8');
}

/**
 * The keys of the last detail, and their order: records that follow each other mostly have the same,
 * and sorting them is a quarter of what a record costs.
 */
const last: { keys: readonly string[]; sorted: readonly string[] } = { keys: [], sorted: [] };

function sortedKeys(detail: AuditEvent['detail']): readonly string[] {
  const keys = Object.keys(detail);
  if (keys.length !== last.keys.length || keys.some((key, index) => key !== last.keys[index])) {
    last.keys = keys;
    last.sorted = keys.toSorted();
  }
  return last.sorted;
}

export interface AuditStatement extends AuditEvent {
  readonly object?: LogObject;
}

/** Parses canonical bytes. Undefined if they are none. */
export function readCanonical(canonical: Buffer): AuditStatement | undefined {
  if (!canonical.subarray(0, version.length).equals(versionBytes)) return undefined;
  try {
    return JSON.parse(canonical.subarray(version.length).toString('utf8')) as AuditStatement;
  } catch {
    return undefined;
  }
}

const versionBytes = Buffer.from(version);

/** An object, with kind, subject and details of the record that commits to it. */
export interface LoggedObject extends LogObject {
  /** The kind of the record: `noun.verb`. */
  readonly act: string;
  readonly subject: string;
  readonly detail: AuditEvent['detail'];
}

/**
 * Only a record that commits to an object contains this: inside a JSON string the quotes would be
 * escaped.
 */
const objectMark = Buffer.from('"object":{"id":');
export function committedObject(canonical: Buffer): LoggedObject | undefined {
  const statement = canonical.includes(objectMark) ? readCanonical(canonical) : undefined;
  return statement?.object === undefined ? undefined : loggedIn(statement.object, statement);
}

/** The object of a record, as this record commits to it. */
export const loggedIn = (
  object: LogObject,
  { kind: act, subject, detail }: AuditEvent,
): LoggedObject => ({ ...object, act, subject, detail });

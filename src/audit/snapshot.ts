import { verify } from 'node:crypto';
import { baseOfOrigin, type NoteKey } from '../common/tlog/index.ts';
import type { LogSnapshot } from '../store/ports/index.ts';

/**
 * The number in its first line grows with the content of snapshots: one of an older release lacks
 * something, and is not used. The statement can not be mistaken for a checkpoint, which begins with
 * the log's origin, nor for a session.
 */
export const snapshotStatement = (
  snapshot: Omit<LogSnapshot, 'signature'>,
  origin: string,
): string =>
  `meshca-audit-snapshot-v6\n${baseOfOrigin(origin)}\n${snapshot.size}\n${snapshot.root.toString('base64')}\n${snapshot.sequence}\n${snapshot.parts}\n${snapshot.digest.toString('base64')}\n${snapshot.timeMs}\n`;

/**
 * Whether the log's key has signed it for this log. Its epoch does not matter: a snapshot of lost
 * records does not fit the tree that continues without them.
 */
export function isSigned(snapshot: LogSnapshot, key: NoteKey): boolean {
  try {
    return verify(
      'sha256',
      Buffer.from(snapshotStatement(snapshot, key.name)),
      key.publicKey,
      snapshot.signature,
    );
  } catch {
    return false;
  }
}

import { PkiError } from '../common/errors/index.ts';
import { consistencyProof, openCheckpoint, rootAt, verifyConsistency, type Checkpoint, type NoteKey } from '../common/tlog/index.ts';
import type { LogStore } from '../store/contract.ts';
import { withTiles } from './tiles.ts';

/**
 * Before anything is signed: the records are those of the tree, the tree is the one under its newest checkpoint, and that one
 * goes on from the newest checkpoint outside the database.
 * @throws PkiError AUDIT_INVALID (a record was changed, or the tree), TREE_TRUNCATED (older than, or another than, what was signed)
 */
export async function checkStoredLog(log: LogStore, key: NoteKey, outside: Checkpoint | undefined): Promise<{ readonly size: number }> {
  const [head, computed, stored] = await Promise.all([log.head(), log.recomputed(), log.latestCheckpoint()]);
  if (stored === undefined) {
    if (head.size > 0) throw invalid('the database has a tree and no checkpoint over it');
    if (outside !== undefined && outside.size > 0) throw truncated(outside, 0);
    return { size: 0 };
  }
  const checkpoint = openCheckpoint(stored.note, key);
  if (!checkpoint.ok) throw invalid(`the newest checkpoint in the database is not valid: ${checkpoint.error.message}`);
  if (checkpoint.value.size !== head.size) throw invalid(`the newest checkpoint is over ${checkpoint.value.size} records, the tree has ${head.size}`);
  if (computed.size !== head.size || !computed.root.equals(checkpoint.value.root)) {
    const wrong = await log.firstWrong();
    throw invalid(wrong === undefined ? 'the records are not those under the newest checkpoint' : `record ${wrong.sequence} (number ${wrong.index} in the tree) was changed, moved or deleted`, wrong);
  }
  if (outside !== undefined) await checkOutside(log, checkpoint.value, outside);
  return { size: head.size };
}

async function checkOutside(log: LogStore, inside: Checkpoint, outside: Checkpoint): Promise<void> {
  if (outside.size > inside.size) throw truncated(outside, inside.size);
  const proof = await withTiles(log, (read) => ({ fromRoot: rootAt(outside.size, read), proof: consistencyProof(outside.size, inside.size, read) }));
  const consistent = verifyConsistency({ from: outside.size, to: inside.size, fromRoot: outside.root, toRoot: inside.root, proof: proof.proof });
  if (!consistent || !proof.fromRoot.equals(outside.root)) {
    throw new PkiError('TREE_TRUNCATED', `the log was rewritten: its first ${outside.size} records are not those of the checkpoint that left the database`, { grade: 'fatal', detail: { size: outside.size } });
  }
}

const truncated = (outside: Checkpoint, size: number): PkiError =>
  new PkiError('TREE_TRUNCATED', `the log in the database has ${size} records under checkpoints, the newest checkpoint outside of it has ${outside.size}`, { grade: 'fatal', detail: { size, expected: outside.size } });

const invalid = (message: string, wrong?: { readonly sequence: number | undefined }): PkiError =>
  new PkiError('AUDIT_INVALID', message, { grade: 'fatal', ...(wrong?.sequence === undefined ? {} : { detail: { sequence: wrong.sequence } }) });


import { PkiError } from '../common/errors/index.ts';
import { consistencyProof, rootAt, verifyConsistency, type Checkpoint, type NoteKey } from '../common/tlog/index.ts';
import type { LogStore } from '../store/contract.ts';
import { openInEpoch } from './checkpoint-file.ts';
import { withTiles } from './tiles.ts';

export interface StoredLog {
  readonly size: number;
  readonly epoch: number;
  /** What left the database and is newer than it: only after the operator accepted exactly that. */
  readonly lost: OutsideCheckpoint | undefined;
}
export type OutsideCheckpoint = Checkpoint & { readonly epoch: number };

/**
 * Before anything is signed: the records are those of the tree, the tree is the one under its newest checkpoint, and that one
 * goes on from the newest checkpoint outside the database; or an operator accepted the loss, naming its size.
 * @throws PkiError AUDIT_INVALID (a record was changed, or the tree), TREE_TRUNCATED (older than, or another than, what was signed)
 */
export async function checkStoredLog(log: LogStore, key: NoteKey, outside: OutsideCheckpoint | undefined, acceptedSize?: number): Promise<StoredLog> {
  const [head, computed, stored] = await Promise.all([log.head(), log.recomputed(), log.latestCheckpoint()]);
  if (stored === undefined) {
    if (head.size > 0) throw invalid('the database has a tree and no checkpoint over it');
    if (outside !== undefined && outside.size > 0) throw truncated(outside, 0);
    return { size: 0, epoch: 0, lost: undefined };
  }
  const checkpoint = openInEpoch(stored.note, key);
  if (checkpoint === undefined) throw invalid('the newest checkpoint in the database is not signed by the log key in this token');
  if (checkpoint.size !== head.size) throw invalid(`the newest checkpoint is over ${checkpoint.size} records, the tree has ${head.size}`);
  if (computed.size !== head.size || !computed.root.equals(checkpoint.root)) {
    const wrong = await log.firstWrong();
    throw invalid(wrong === undefined ? 'the records are not those under the newest checkpoint' : `record ${wrong.sequence} (number ${wrong.index} in the tree) was changed, moved or deleted`, wrong);
  }
  const { epoch } = checkpoint;
  if (outside === undefined || outside.epoch < epoch) return { size: head.size, epoch, lost: undefined };
  if (outside.epoch > epoch || outside.size > checkpoint.size) {
    if (acceptedSize !== outside.size) throw truncated(outside, checkpoint.size);
    return { size: head.size, epoch, lost: outside };
  }
  await checkOutside(log, checkpoint, outside);
  return { size: head.size, epoch, lost: undefined };
}

async function checkOutside(log: LogStore, inside: Checkpoint, outside: Checkpoint): Promise<void> {
  const proof = await withTiles(log, (read) => ({ fromRoot: rootAt(outside.size, read), proof: consistencyProof(outside.size, inside.size, read) }));
  const consistent = verifyConsistency({ from: outside.size, to: inside.size, fromRoot: outside.root, toRoot: inside.root, proof: proof.proof });
  if (!consistent || !proof.fromRoot.equals(outside.root)) {
    throw new PkiError('TREE_TRUNCATED', `the log was rewritten: its first ${outside.size} records are not those of the checkpoint that left the database`, { grade: 'fatal', detail: { size: outside.size } });
  }
}

const truncated = (outside: Checkpoint, size: number): PkiError =>
  new PkiError('TREE_TRUNCATED', `the log in the database has ${size} records under checkpoints, the newest checkpoint outside of it has ${outside.size}: what ${outside.size > size ? `the last ${outside.size - size} of them` : 'the later ones'} did is lost, bans and rotations included`, {
    grade: 'fatal', detail: { size, expected: outside.size },
    next: `Put the newer database back. If there is none, look at what is lost ("meshca restore show") and start once with --accept-restore ${outside.size}.`,
  });

const invalid = (message: string, wrong?: { readonly sequence: number | undefined }): PkiError =>
  new PkiError('AUDIT_INVALID', message, { grade: 'fatal', ...(wrong?.sequence === undefined ? {} : { detail: { sequence: wrong.sequence } }) });


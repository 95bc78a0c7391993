import { PkiError } from '../common/errors/index.ts';
import {
  consistencyProof,
  rootAt,
  verifyConsistency,
  type Checkpoint,
  type NoteKey,
} from '../common/tlog/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import { openInEpoch } from './checkpoint-file.ts';
import { isSigned } from './snapshot.ts';
import { withTiles } from '../ledger/index.ts';

export interface StoredLog {
  readonly size: number;
  readonly epoch: number;
  /**
   * What left the database and is newer than it: nothing may be signed before an operator has
   * accepted exactly that.
   */
  readonly newer: (OutsideCheckpoint & { readonly foundBy: string }) | undefined;
}
export type OutsideCheckpoint = Checkpoint & { readonly epoch: number };
/**
 * What is known beside the database: its own newest checkpoint, and those that others showed
 * because it lacked them.
 */
export interface Outside {
  readonly newest: OutsideCheckpoint | undefined;
  readonly shown: readonly (OutsideCheckpoint & { readonly foundBy: string })[];
}
const besideDatabase = 'the checkpoint file';

/** A checkpoint of this log that the database lacks. */
export interface Staleness {
  readonly newer: OutsideCheckpoint;
  /** Records under checkpoints in the database. */
  readonly size: number;
  /** The last record that was in the tree when this process began. */
  readonly sequence: number;
  readonly foundBy: string;
}

/**
 * Before anything is signed: the records, or those behind a snapshot that the log's key has signed,
 * are those of the tree, the tree is the one under its newest checkpoint, and that one goes on from
 * the newest checkpoint outside the database, or the outside one is `newer`.
 * @throws PkiError AUDIT_INVALID (a record was changed, or the tree), TREE_TRUNCATED (another tree
 * than what was signed)
 */
export async function checkStoredLog(
  log: LedgerLog,
  key: NoteKey,
  { newest: outside, shown }: Outside,
): Promise<StoredLog> {
  await settleBasis(log, key);
  const [head, stored] = await Promise.all([log.head(), log.latestCheckpoint()]);
  const computed = log.recomputed();
  if (stored === undefined) {
    if (head.size > 0) throw invalid('the database has a tree and no checkpoint over it');
    return {
      size: 0,
      epoch: 0,
      newer:
        outside !== undefined && outside.size > 0
          ? { ...outside, foundBy: besideDatabase }
          : shown.find((each) => each.size > 0),
    };
  }
  const checkpoint = openInEpoch(stored.note, key);
  if (checkpoint === undefined)
    throw invalid(
      'the newest checkpoint in the database is not signed by the log key in this token',
    );
  if (checkpoint.size !== head.size)
    throw invalid(
      `the newest checkpoint is over ${checkpoint.size} records, the tree has ${head.size}`,
    );
  if (computed.size !== head.size || !computed.root.equals(checkpoint.root)) {
    const wrong = await log.firstWrong();
    throw invalid(
      wrong === undefined
        ? 'the records are not those under the newest checkpoint'
        : `record ${wrong.sequence} (number ${wrong.index} in the tree) was changed, moved or deleted`,
      wrong,
    );
  }
  const { epoch } = checkpoint;
  for (const each of shown)
    if ((await compareOutside(log, checkpoint, each)) !== 'contained')
      return { size: head.size, epoch, newer: each };
  if (outside === undefined) return { size: head.size, epoch, newer: undefined };
  const found = await compareOutside(log, checkpoint, outside);
  if (found === 'rewritten') {
    throw new PkiError(
      'TREE_TRUNCATED',
      `the log was rewritten: its first ${outside.size} records are not those of the checkpoint that left the database`,
      { grade: 'fatal', detail: { size: outside.size } },
    );
  }
  return {
    size: head.size,
    epoch,
    newer: found === 'older' ? { ...outside, foundBy: besideDatabase } : undefined,
  };
}

/**
 * What the memory of the log rests on was signed with this key, or it rests on the records alone.
 */
async function settleBasis(log: LedgerLog, key: NoteKey): Promise<void> {
  for (let basis = log.basis(); basis !== undefined && !isSigned(basis, key); basis = log.basis())
    await log.withoutBasis('it is not signed by the log key in this token');
}

/**
 * How the tree in the database stands to a checkpoint of this log that was seen elsewhere: `older`
 * and `rewritten` mean that the database is not the one that was signed last.
 */
export async function compareOutside(
  log: Pick<LedgerLog, 'tile'>,
  inside: OutsideCheckpoint,
  outside: OutsideCheckpoint,
): Promise<'contained' | 'older' | 'rewritten'> {
  // an epoch before was accepted as lost
  if (outside.epoch < inside.epoch) return 'contained';
  if (outside.epoch > inside.epoch || outside.size > inside.size) return 'older';
  const { fromRoot, proof } = await withTiles(log, (read) => ({
    fromRoot: rootAt(outside.size, read),
    proof: consistencyProof(outside.size, inside.size, read),
  }));
  const consistent =
    fromRoot.equals(outside.root) &&
    verifyConsistency({
      from: outside.size,
      to: inside.size,
      fromRoot: outside.root,
      toRoot: inside.root,
      proof,
    });
  return consistent ? 'contained' : 'rewritten';
}

/** Why a database older than what was signed does not go on by itself. */
export const staleError = (outside: OutsideCheckpoint, size: number): PkiError =>
  new PkiError(
    'TREE_TRUNCATED',
    `the log in the database has ${size} records under checkpoints, the newest checkpoint outside of it has ${outside.size}: what ${outside.size > size ? `the last ${outside.size - size} of them` : 'the later ones'} did is lost, bans and rotations included`,
    {
      grade: 'fatal',
      detail: { size, expected: outside.size },
      next: `Put the newer database back. If there is none, look at what is lost ("meshca restore show") and accept it ("meshca restore accept ${outside.size}").`,
    },
  );

const invalid = (message: string, wrong?: { readonly sequence: number | undefined }): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    grade: 'fatal',
    ...(wrong?.sequence === undefined ? {} : { detail: { sequence: wrong.sequence } }),
  });

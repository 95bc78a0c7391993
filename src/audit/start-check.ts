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
   * A checkpoint outside the database that is newer than it. Nothing may be signed before an
   * operator has accepted exactly this loss.
   */
  readonly newer: (OutsideCheckpoint & { readonly foundBy: string }) | undefined;
}
export type OutsideCheckpoint = Checkpoint & { readonly epoch: number };
/**
 * The checkpoints outside the database: its own newest one, and those that others showed because
 * the database lacked them.
 */
export interface Outside {
  readonly newest: OutsideCheckpoint | undefined;
  readonly shown: readonly (OutsideCheckpoint & { readonly foundBy: string })[];
}
const besideDatabase = 'the checkpoint file';

/** A checkpoint of this log that the database lacks. */
export interface Staleness {
  readonly newer: OutsideCheckpoint;
  /** The number of records under checkpoints in the database. */
  readonly size: number;
  /** The last record that was in the tree when this process started. */
  readonly sequence: number;
  readonly foundBy: string;
}

/**
 * The check before anything is signed. The records (or those behind a snapshot that the log's key
 * has signed) must be those of the tree. The tree must be the one under its newest checkpoint. That
 * checkpoint must continue the newest checkpoint outside the database; otherwise the outside one is
 * returned as `newer`.
 *
 * @throws PkiError AUDIT_INVALID (a record or the tree was changed), TREE_TRUNCATED (the tree
 *   differs from what was signed)
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
    if (head.size > 0) throw invalid('the database has a tree but no checkpoint over it');
    return {
      size: 0,
      epoch: 0,
      newer:
        outside !== undefined && outside.size > 0
          ? { ...outside, foundBy: besideDatabase }
          : shown.find((checkpointShown) => checkpointShown.size > 0),
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
        ? 'the records differ from those under the newest checkpoint'
        : `record ${wrong.sequence} (number ${wrong.index} in the tree) was changed, moved or deleted`,
      wrong,
    );
  }
  const { epoch } = checkpoint;
  for (const foreign of shown)
    if ((await compareOutside(log, checkpoint, foreign)) !== 'contained')
      return { size: head.size, epoch, newer: foreign };
  if (outside === undefined) return { size: head.size, epoch, newer: undefined };
  const relation = await compareOutside(log, checkpoint, outside);
  if (relation === 'rewritten') {
    throw new PkiError(
      'TREE_TRUNCATED',
      `the log was rewritten: its first ${outside.size} records differ from those of the ` +
        'checkpoint outside the database',
      { grade: 'fatal', detail: { size: outside.size } },
    );
  }
  return {
    size: head.size,
    epoch,
    newer: relation === 'older' ? { ...outside, foundBy: besideDatabase } : undefined,
  };
}

/**
 * Accepts the basis of the memory if this key signed it. Otherwise the memory rests on the records
 * alone.
 */
async function settleBasis(log: LedgerLog, key: NoteKey): Promise<void> {
  for (let basis = log.basis(); basis !== undefined && !isSigned(basis, key); basis = log.basis())
    await log.withoutBasis('it is not signed by the log key in this token');
}

/**
 * The relation of the tree in the database to a checkpoint of this log from elsewhere. `older` and
 * `rewritten` mean that the database is not the one that was signed last.
 */
export async function compareOutside(
  log: Pick<LedgerLog, 'tile'>,
  inside: OutsideCheckpoint,
  outside: OutsideCheckpoint,
): Promise<'contained' | 'older' | 'rewritten'> {
  // an operator has accepted the loss of that earlier epoch
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

/** Why the server does not continue with a database that is older than what was signed. */
export const staleError = (outside: OutsideCheckpoint, size: number): PkiError =>
  new PkiError(
    'TREE_TRUNCATED',
    `the log in the database has ${size} records under checkpoints, the newest checkpoint ` +
      `outside of it has ${outside.size}: the effects of ` +
      `${outside.size > size ? `the last ${outside.size - size} of them` : 'the later ones'} ` +
      'are lost, bans and rotations included',
    {
      grade: 'fatal',
      detail: { size, expected: outside.size },
      next:
        'Put the newer database back. If there is none, review the loss ("meshca restore ' +
        `show") and accept it ("meshca restore accept ${outside.size}").`,
    },
  );

const invalid = (message: string, wrong?: { readonly sequence: number | undefined }): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    grade: 'fatal',
    ...(wrong?.sequence === undefined ? {} : { detail: { sequence: wrong.sequence } }),
  });

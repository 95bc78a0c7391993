import { fail, ok, type Result } from '../errors/index.ts';
import { hashBytes } from './hash.ts';
import { checkNote, parseNote, type Note, type NoteKey } from './note.ts';

/** What a checkpoint commits to (C2SP tlog-checkpoint). */
export interface TreeHead {
  readonly origin: string;
  /** Number of leaves. */
  readonly size: number;
  readonly root: Buffer;
}

export interface Checkpoint extends TreeHead {
  readonly note: Note;
}

export const checkpointText = ({ origin, size, root }: TreeHead): string =>
  `${origin}\n${size}\n${root.toString('base64')}\n`;

/**
 * Parses a checkpoint without verifying its signatures. Extension lines are allowed and ignored.
 */
export function parseCheckpoint(bytes: Buffer | string): Result<Checkpoint> {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const [origin, sizeText, rootText, ...extensions] = note.value.text.slice(0, -1).split('\n');
  const root = Buffer.from(rootText ?? '', 'base64');
  const size = Number(sizeText);
  const good =
    origin !== undefined &&
    origin !== '' &&
    /^(0|[1-9][0-9]*)$/.test(sizeText ?? '') &&
    Number.isSafeInteger(size) &&
    root.length === hashBytes &&
    root.toString('base64') === rootText &&
    !extensions.includes('');
  if (!good)
    return fail(
      'CHECKPOINT_INVALID',
      'the note is no checkpoint: origin, size and root hash stand on its first three lines',
    );
  return ok({ origin, size, root, note: note.value });
}

/**
 * Opens a checkpoint of this log. Its origin must be the key's name, and a signature by the key
 * must verify.
 */
export function openCheckpoint(bytes: Buffer | string, key: NoteKey): Result<Checkpoint> {
  const parsed = parseCheckpoint(bytes);
  if (!parsed.ok) return parsed;
  if (parsed.value.origin !== key.name)
    return fail(
      'CHECKPOINT_INVALID',
      `the checkpoint is of the log ${JSON.stringify(parsed.value.origin.slice(0, 120))}, not of ${key.name}`,
    );
  const found = checkNote(parsed.value.note, key);
  if (found === 'valid') return parsed;
  return fail(
    'CHECKPOINT_INVALID',
    found === 'absent'
      ? `the checkpoint over ${parsed.value.size} records has no signature of the log's key`
      : `the signature of the checkpoint over ${parsed.value.size} records does not verify`,
  );
}

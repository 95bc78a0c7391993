import { join } from 'node:path';
import { parseCheckpoint, type Checkpoint } from '../../src/common/tlog/index.ts';
import { readPrivateFile, replaceFile } from './files.ts';
import type { StateWrites } from './writes.ts';

const fileName = 'log-checkpoint';
const maximumBytes = 8 * 1024;
/** No note: what a file that can not be read stands for. */
const damaged = '';

/**
 * The newest checkpoint of the CA's audit log that this agent received. The agent shows it to the
 * server at each connection, which reveals a database that was restored to an older state. The
 * agent does not know the log's key and can't verify the note. It never replaces a checkpoint by a
 * smaller one of the same log and key. Owner of the file.
 */
export class CheckpointKeeper {
  readonly #directory: string;
  readonly #writes: StateWrites;
  #note: string;

  private constructor(directory: string, note: string, writes: StateWrites) {
    this.#directory = directory;
    this.#note = note;
    this.#writes = writes;
    if (note !== '') writes.remember(fileName, () => this.#write());
  }

  /** What can not be read is left out and told: it is a witness for others, no ground to fail. */
  static async open(
    directory: string,
    writes: StateWrites,
    onDamaged: (file: string) => void,
  ): Promise<CheckpointKeeper> {
    const kept = await readPrivateFile(join(directory, fileName)).catch(() => damaged);
    const note = kept !== undefined && parse(kept) !== undefined ? kept : '';
    if (kept !== undefined && note === '') onDamaged(fileName);
    return new CheckpointKeeper(directory, note, writes);
  }

  /** Empty: none. */
  get note(): string {
    return this.#note;
  }

  /**
   * Returns whether the checkpoint is durable. One that could not be written is shown all the same,
   * and its write is pending.
   */
  async keep(note: string): Promise<boolean> {
    const offered = parse(note);
    const kept = parse(this.#note);
    if (
      offered === undefined ||
      note === this.#note ||
      (kept !== undefined && sameLog(kept, offered) && !isNewer(offered, kept))
    )
      return false;
    this.#note = note;
    return this.#writes.put(fileName, () => this.#write());
  }

  #write(): Promise<void> {
    return replaceFile(join(this.#directory, fileName), this.#note);
  }
}

function parse(note: string): Checkpoint | undefined {
  if (note.length > maximumBytes) return undefined;
  const parsed = parseCheckpoint(note);
  return parsed.ok ? parsed.value : undefined;
}

/** Compares the signing keys, not the epochs. A new log has another key, and begins small. */
const sameLog = (one: Checkpoint, other: Checkpoint): boolean =>
  one.note.signatures[0]?.keyId.equals(other.note.signatures[0]?.keyId ?? Buffer.alloc(0)) === true;

/** A new epoch begins with a smaller tree, after an operator accepted a loss. */
function isNewer(one: Checkpoint, other: Checkpoint): boolean {
  const [epoch, before] = [epochOf(one.origin), epochOf(other.origin)];
  return epoch > before || (epoch === before && one.size > other.size);
}

const epochOf = (origin: string): number =>
  Number(/\/meshca\/audit\/([1-9][0-9]{0,8})$/.exec(origin)?.[1] ?? 0);

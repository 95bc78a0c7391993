import { join } from 'node:path';
import { parseCheckpoint, type Checkpoint } from '../../src/common/tlog/index.ts';
import { readPrivateFile, replaceFile } from './files.ts';

const fileName = 'log-checkpoint';
const maximumBytes = 8 * 1024;

/**
 * The newest checkpoint of the CA's audit log that this agent was given: shown to the server at
 * each connection, so that a database that was put back to an older state shows. The agent does not
 * know the log's key and can not judge the note; what it does is never to forget a larger one for a
 * smaller one of the same log and key. Owner of the file.
 */
export class CheckpointKeeper {
  readonly #directory: string;
  #note: string;

  private constructor(directory: string, note: string) {
    this.#directory = directory;
    this.#note = note;
  }

  /** What can not be read is left out: it is a witness for others, no ground to fail. */
  static async open(directory: string): Promise<CheckpointKeeper> {
    const kept = await readPrivateFile(join(directory, fileName)).catch(() => undefined);
    return new CheckpointKeeper(
      directory,
      kept !== undefined && parse(kept) !== undefined ? kept : '',
    );
  }

  /** Empty: none. */
  get note(): string {
    return this.#note;
  }

  /** Returns whether it is kept from now on, durably. Throws STATE_UNUSABLE. */
  async keep(note: string): Promise<boolean> {
    const offered = parse(note);
    const kept = parse(this.#note);
    if (
      offered === undefined ||
      note === this.#note ||
      (kept !== undefined && sameLog(kept, offered) && !isNewer(offered, kept))
    )
      return false;
    await replaceFile(join(this.#directory, fileName), note);
    this.#note = note;
    return true;
  }
}

function parse(note: string): Checkpoint | undefined {
  if (note.length > maximumBytes) return undefined;
  const parsed = parseCheckpoint(note);
  return parsed.ok ? parsed.value : undefined;
}

/**
 * By the key that signed, whatever the epoch is. A log made anew has another key, and begins small.
 */
const sameLog = (one: Checkpoint, other: Checkpoint): boolean =>
  one.note.signatures[0]?.keyId.equals(other.note.signatures[0]?.keyId ?? Buffer.alloc(0)) === true;

/** An epoch is begun after a loss that an operator accepted, with a smaller tree. */
function isNewer(one: Checkpoint, other: Checkpoint): boolean {
  const [epoch, before] = [epochOf(one.origin), epochOf(other.origin)];
  return epoch > before || (epoch === before && one.size > other.size);
}

const epochOf = (origin: string): number =>
  Number(/\/meshca\/audit\/([1-9][0-9]{0,8})$/.exec(origin)?.[1] ?? 0);

import { open, readFile, rename, type FileHandle } from 'node:fs/promises';
import { PkiError } from '../common/errors/index.ts';
import {
  baseOfOrigin,
  epochOfOrigin,
  keyInEpoch,
  openCheckpoint,
  parseCheckpoint,
  type Checkpoint,
  type NoteKey,
} from '../common/tlog/index.ts';

const rotateAtBytes = 16 * 1024 * 1024;

/**
 * The checkpoints outside the database, one JSON line each, appended and synced, never changed. A
 * large file is renamed to `.1`, and a new file begins with the newest checkpoint. Owner of the
 * file.
 */
export class CheckpointFile {
  readonly #path: string;
  #handle: FileHandle | undefined;
  #bytes = 0;
  #work: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The checkpoints of this log in the file, under any of its keys: a standby key has signed
   * nothing yet, and a lost key signs nothing more. Lines that a crash cut are ignored. `shown`:
   * checkpoints that somebody else kept and this database lacked.
   *
   * @throws PkiError TREE_TRUNCATED if the file holds checkpoints but none of this log
   */
  async outside(...keys: LogKeys): Promise<{
    readonly newest: (Checkpoint & { readonly epoch: number }) | undefined;
    readonly shown: readonly (Checkpoint & { readonly epoch: number; readonly foundBy: string })[];
  }> {
    const shown: (Checkpoint & { readonly epoch: number; readonly foundBy: string })[] = [];
    const [{ name }] = keys;
    const own: { readonly note: string; readonly epoch: number; readonly size: number }[] = [];
    let other = 0;
    for (const { note, foundBy } of readCheckpointLines(await this.#read())) {
      if (foundBy !== '') {
        const opened = openInEpoch(note, ...keys);
        if (opened === undefined) other += 1;
        else shown.push({ ...opened, foundBy });
        continue;
      }
      const [origin = '', sizeText] = note.split('\n', 2);
      const epoch = epochOfOrigin(baseOfOrigin(name), origin);
      const size = Number(sizeText);
      if (epoch === undefined || !Number.isSafeInteger(size)) other += 1;
      else own.push({ note, epoch, size });
    }
    // there may be thousands of lines, and the newest valid one counts: verify from that end
    const newestFirst = own
      .reverse()
      .sort((one, next) => next.epoch - one.epoch || next.size - one.size);
    let newest: (Checkpoint & { readonly epoch: number }) | undefined;
    for (const { note } of newestFirst) {
      newest = openInEpoch(note, ...keys);
      if (newest !== undefined) break;
      other += 1;
    }
    if (newest === undefined && other > 0) {
      throw new PkiError(
        'TREE_TRUNCATED',
        `${this.#path} holds ${other} checkpoints, but none of them is signed by a key of this log`,
        {
          grade: 'fatal',
          next: 'Connect the token that belongs to this log. If this is a new installation, move the file away.',
        },
      );
    }
    return { newest, shown };
  }

  /** `foundBy`: who showed the checkpoint, if it is not from this database. */
  append(note: string, timeMs: number, foundBy = ''): Promise<void> {
    const line = `${JSON.stringify({ timeMs, ...(foundBy === '' ? {} : { foundBy }), checkpoint: note })}\n`;
    this.#work = this.#work.then(() => this.#write(line));
    return this.#work;
  }

  async close(): Promise<void> {
    await this.#work.catch(() => {});
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #write(line: string): Promise<void> {
    if (this.#bytes > rotateAtBytes) {
      await this.#handle?.close();
      this.#handle = undefined;
      await rename(this.#path, `${this.#path}.1`);
    }
    if (this.#handle === undefined) {
      this.#handle = await open(this.#path, 'a', 0o640);
      this.#bytes = (await this.#handle.stat()).size;
      // a line that a crash cut must not merge with this one
      if (this.#bytes > 0) line = `\n${line}`;
    }
    await this.#handle.appendFile(line);
    await this.#handle.datasync();
    this.#bytes += line.length;
  }

  async #read(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw new PkiError(
        'CONFIG_INVALID',
        `the checkpoint file ${this.#path} can not be read: ${(thrown as Error).message}`,
      );
    }
  }
}

function readCheckpointLines(
  text: string,
): readonly { readonly note: string; readonly foundBy: string }[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      const { checkpoint, foundBy } = JSON.parse(line) as {
        checkpoint?: unknown;
        foundBy?: unknown;
      };
      return typeof checkpoint === 'string'
        ? [{ note: checkpoint, foundBy: typeof foundBy === 'string' ? foundBy : '' }]
        : [];
    } catch {
      return [];
    }
  });
}

/** The keys of one log. The name of each is the log's origin. */
export type LogKeys = readonly [NoteKey, ...NoteKey[]];

/** A checkpoint of this log of any epoch, under one of its keys; otherwise undefined. */
export function openInEpoch(
  note: string,
  ...keys: LogKeys
): (Checkpoint & { readonly epoch: number }) | undefined {
  const parsed = parseCheckpoint(note);
  if (!parsed.ok) return undefined;
  const epoch = epochOfOrigin(baseOfOrigin(keys[0].name), parsed.value.origin);
  if (epoch === undefined) return undefined;
  for (const key of keys) {
    const opened = openCheckpoint(note, keyInEpoch(key, epoch));
    if (opened.ok) return { ...opened.value, epoch };
  }
  return undefined;
}

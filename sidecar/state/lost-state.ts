import { join } from 'node:path';
import { isOneLine } from '../../src/common/runtime/index.ts';
import { readPrivateFile, removeFile, replaceFile } from './files.ts';
import type { StateWrites } from './writes.ts';

const fileName = 'lost-state.json';
const maximumFiles = 8;
const maximumLength = 64;

/**
 * What this agent found missing or damaged in its data directory, until the server was told. It is
 * kept there itself: what is lost is mended at once, so that an agent that ends before it has told
 * would not find it again. Owner of that list and its file.
 */
export class LostState {
  readonly #directory: string;
  readonly #writes: StateWrites;
  #lost: readonly string[];

  private constructor(directory: string, writes: StateWrites, lost: readonly string[]) {
    this.#directory = directory;
    this.#writes = writes;
    this.#lost = lost;
    if (lost.length > 0) writes.remember(fileName, () => this.#write());
  }

  /** A list that can not be read is left out: the agent can do without it. */
  static async open(directory: string, writes: StateWrites): Promise<LostState> {
    const kept = await readPrivateFile(join(directory, fileName)).catch(() => undefined);
    return new LostState(directory, writes, parse(kept ?? ''));
  }

  /** Resolves when it is durable, or owed to the directory. */
  async add(file: string, how: 'missing' | 'damaged' | 'older than the SVID'): Promise<void> {
    const lost = `${file}: ${how}`;
    if (this.#lost.includes(lost)) return;
    this.#lost = [...this.#lost, lost].slice(-maximumFiles);
    await this.#writes.put(fileName, () => this.#write());
  }

  list(): readonly string[] {
    return this.#lost;
  }

  /** The server has these on record. */
  told(lost: readonly string[]): void {
    if (lost.length === 0) return;
    this.#lost = this.#lost.filter((each) => !lost.includes(each));
    void this.#writes.put(fileName, () => this.#write());
  }

  #write(): Promise<void> {
    const path = join(this.#directory, fileName);
    return this.#lost.length === 0
      ? removeFile(path)
      : replaceFile(path, `${JSON.stringify({ version: 1, lost: this.#lost })}\n`);
  }
}

function parse(text: string): readonly string[] {
  try {
    const { version, lost } = JSON.parse(text) as {
      readonly version?: unknown;
      readonly lost?: unknown;
    };
    if (version !== 1 || !Array.isArray(lost)) return [];
    return (lost as unknown[])
      .filter(
        (each): each is string =>
          typeof each === 'string' && each.length <= maximumLength && isOneLine(each),
      )
      .slice(0, maximumFiles);
  } catch {
    return [];
  }
}

import { join } from 'node:path';
import type { FederatedDocument } from '../bundle/index.ts';
import { readPrivateFile, replaceFile } from './files.ts';
import type { StateWrites } from './writes.ts';

const fileName = 'federated-bundles.json';

/**
 * The bundles of foreign trust domains on disk, so that an agent that restarts during an outage of
 * the CA gives them to its workloads. No secrets. Owner of the file. One that can not be read is left
 * out: the server sends all of them when a session begins.
 */
export class FederatedFile {
  readonly #directory: string;
  readonly #writes: StateWrites;
  #documents: readonly FederatedDocument[] = [];

  constructor(directory: string, writes: StateWrites) {
    this.#directory = directory;
    this.#writes = writes;
  }

  async load(): Promise<readonly FederatedDocument[]> {
    const text = await readPrivateFile(join(this.#directory, fileName)).catch(() => undefined);
    this.#documents = parse(text ?? '');
    if (text !== undefined) this.#writes.remember(fileName, () => this.#write());
    return this.#documents;
  }

  /** Returns whether a restart would begin with these. */
  save(documents: readonly FederatedDocument[]): Promise<boolean> {
    this.#documents = documents;
    return this.#writes.put(fileName, () => this.#write());
  }

  #write(): Promise<void> {
    const record = { version: 1, bundles: this.#documents };
    return replaceFile(join(this.#directory, fileName), `${JSON.stringify(record)}\n`);
  }
}

function parse(text: string): readonly FederatedDocument[] {
  try {
    const { version, bundles } = JSON.parse(text) as {
      readonly version?: unknown;
      readonly bundles?: unknown;
    };
    return version === 1 && Array.isArray(bundles) ? (bundles as unknown[]).flatMap(readOne) : [];
  } catch {
    return [];
  }
}

function readOne(value: unknown): readonly FederatedDocument[] {
  const { trustDomain, bundleJson } = (value ?? {}) as Record<string, unknown>;
  return typeof trustDomain === 'string' && typeof bundleJson === 'string'
    ? [{ trustDomain, bundleJson }]
    : [];
}

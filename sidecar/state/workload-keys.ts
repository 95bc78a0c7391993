import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { privateDirectory, readPrivateFile, removeFile, replaceFile } from './files.ts';

/** A workload's SVID with its key on disk (tmpfs by default), if the operator asked for that. */
export interface StoredSvid {
  readonly entryId: string;
  readonly entryRevision: number;
  readonly spiffeId: string;
  readonly selectors: readonly Selector[];
  readonly serial: string;
  readonly authorityId: string;
  readonly chainDer: readonly Buffer[];
  readonly privateKeyPkcs8Der: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly lifetimeSeconds: number;
}

export interface WorkloadKeyStore {
  save(key: string, svid: StoredSvid): Promise<void>;
  remove(key: string): Promise<void>;
  load(): Promise<readonly StoredSvid[]>;
}

/** One file per identity. Its name is a digest, so that no name from outside becomes a path. */
export class FileWorkloadKeyStore implements WorkloadKeyStore {
  readonly #directory: string;
  #ready: Promise<void> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async save(key: string, svid: StoredSvid): Promise<void> {
    await this.#prepare();
    await replaceFile(
      this.#path(key),
      JSON.stringify({
        version: 1,
        ...svid,
        chainDer: svid.chainDer.map((der) => der.toString('base64')),
        privateKeyPkcs8Der: svid.privateKeyPkcs8Der.toString('base64'),
      }),
    );
  }

  async remove(key: string): Promise<void> {
    await removeFile(this.#path(key));
  }

  /** Loads all readable files. A damaged file is left out, since a new SVID replaces it. */
  async load(): Promise<readonly StoredSvid[]> {
    await this.#prepare();
    const found: StoredSvid[] = [];
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith('.svid.json')) continue;
      try {
        const record = JSON.parse(
          (await readPrivateFile(join(this.#directory, name))) ?? 'null',
        ) as Record<string, unknown> | null;
        if (record === null || record['version'] !== 1) continue;
        found.push({
          ...(record as unknown as StoredSvid),
          chainDer: (record['chainDer'] as string[]).map((each) => Buffer.from(each, 'base64')),
          privateKeyPkcs8Der: Buffer.from(record['privateKeyPkcs8Der'] as string, 'base64'),
        });
      } catch {
        continue;
      }
    }
    return found;
  }

  #prepare(): Promise<void> {
    this.#ready ??= privateDirectory(this.#directory);
    return this.#ready;
  }

  #path(key: string): string {
    return join(this.#directory, `${createHash('sha256').update(key).digest('hex')}.svid.json`);
  }
}

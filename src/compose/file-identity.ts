import { createSecureContext } from 'node:tls';
import { PkiError } from '../common/errors/index.ts';
import type { HttpIdentity } from '../server/index.ts';
import { readPem } from './settings.ts';

interface Pair {
  readonly chainPem: string;
  readonly keyPem: string;
}

/** A file, and the key of the configuration that names it. */
interface NamedFile {
  readonly path: string;
  readonly key: string;
}

/**
 * Certificate and key of a port, from files that an operator maintains. Owner of the pair in use.
 * The files are read at the start and whenever `prepare` is called.
 */
export class FileIdentity implements HttpIdentity {
  readonly #cert: NamedFile;
  readonly #key: NamedFile;
  readonly #listeners = new Set<() => void>();
  #present: Pair;

  /** @throws PkiError CONFIG_INVALID */
  constructor(cert: NamedFile, key: NamedFile) {
    this.#cert = cert;
    this.#key = key;
    this.#present = this.#read();
  }

  current(): Pair {
    return this.#present;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Reads and checks the files. The returned function takes them into use for new connections.
   *
   * @throws PkiError CONFIG_INVALID; then nothing has changed
   */
  prepare(): () => void {
    const pair = this.#read();
    return () => {
      this.#present = pair;
      for (const listener of this.#listeners) listener();
    };
  }

  #read(): Pair {
    const pair = {
      chainPem: readPem(this.#cert.path, this.#cert.key),
      keyPem: readPem(this.#key.path, this.#key.key),
    };
    try {
      createSecureContext({ cert: pair.chainPem, key: pair.keyPem });
    } catch (thrown) {
      throw new PkiError(
        'CONFIG_INVALID',
        `${this.#cert.key} and ${this.#key.key} can not be used together: ${(thrown as Error).message}`,
        {
          grade: 'fatal',
          next: 'Put a PEM certificate chain and the key of its first certificate into these files.',
        },
      );
    }
    return pair;
  }
}

import {
  createCsr,
  generateKeyPairAsync,
  pkcs8Of,
  spkiOf,
  type KeyType,
} from '../../src/common/x509/index.ts';

/** An unused key, with its certificate request. */
export interface ReadyKey {
  readonly privateKeyPkcs8Der: Buffer;
  readonly csrDer: Buffer;
  readonly spkiDer: Buffer;
}

/**
 * Some keys made ahead, so that a first identity does not wait for one. Keys are made on the thread
 * pool, and each is given out once. Owner of the keys until then.
 */
export class KeyPool {
  readonly #keyType: KeyType;
  readonly #size: number;
  readonly #ready: ReadyKey[] = [];
  #making = 0;
  #stopped = false;

  constructor(keyType: KeyType, size: number) {
    this.#keyType = keyType;
    this.#size = size;
    this.#refill();
  }

  async take(): Promise<ReadyKey> {
    const ready = this.#ready.pop();
    this.#refill();
    return ready ?? make(this.#keyType);
  }

  close(): void {
    this.#stopped = true;
    this.#ready.length = 0;
  }

  #refill(): void {
    // one at a time, so that filling up does not delay other work
    if (this.#stopped || this.#making > 0 || this.#ready.length >= this.#size) return;
    this.#making += 1;
    make(this.#keyType).then(
      (key) => {
        this.#making -= 1;
        if (!this.#stopped) this.#ready.push(key);
        this.#refill();
      },
      () => {
        // the next request makes the key anew, and its caller sees the error
        this.#making -= 1;
      },
    );
  }
}

async function make(keyType: KeyType): Promise<ReadyKey> {
  const { privateKey, publicKey } = await generateKeyPairAsync(keyType);
  return {
    privateKeyPkcs8Der: pkcs8Of(privateKey),
    csrDer: createCsr(privateKey),
    spkiDer: spkiOf(publicKey),
  };
}

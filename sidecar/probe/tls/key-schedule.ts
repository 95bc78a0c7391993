import { createDecipheriv, createCipheriv, createHash, createHmac } from 'node:crypto';
import { ProbeFailure } from '../failure.ts';
import { contentType, type Suite } from './numbers.ts';
import { uint, vector } from './wire.ts';

type Hash = Suite['hash'];

const hmac = (hash: Hash, key: Buffer, ...parts: readonly Buffer[]): Buffer => {
  const mac = createHmac(hash, key);
  for (const part of parts) mac.update(part);
  return mac.digest();
};

export const digestOf = (hash: Hash, bytes: Buffer): Buffer =>
  createHash(hash).update(bytes).digest();

const lengthOf = (hash: Hash): number => (hash === 'sha256' ? 32 : 48);

/** What a secret is expanded to: its label, context and length (default: that of the hash). */
interface Expansion {
  readonly label: string;
  readonly context?: Buffer;
  readonly length?: number;
}

/** HKDF-Expand-Label (RFC 8446 section 7.1). */
function expandLabel(
  hash: Hash,
  secret: Buffer,
  { label, context = Buffer.alloc(0), length = lengthOf(hash) }: Expansion,
): Buffer {
  const info = Buffer.concat([
    uint(2, length),
    vector(1, Buffer.from(`tls13 ${label}`, 'latin1')),
    vector(1, context),
  ]);
  // no key or secret here is longer than one block
  return hmac(hash, secret, info, Buffer.of(1)).subarray(0, length);
}

/** The secrets of both directions, at one stage of the handshake. */
export interface TrafficSecrets {
  readonly client: Buffer;
  readonly server: Buffer;
}

/** The key schedule without a pre-shared key (RFC 8446 section 7.1). */
export class KeySchedule {
  readonly #hash: Hash;
  readonly #handshakeSecret: Buffer;

  constructor(hash: Hash, shared: Buffer) {
    this.#hash = hash;
    const zeros = Buffer.alloc(lengthOf(hash));
    const early = hmac(hash, zeros, zeros);
    this.#handshakeSecret = hmac(hash, this.#derived(early), shared);
  }

  #derived(secret: Buffer): Buffer {
    return expandLabel(this.#hash, secret, {
      label: 'derived',
      context: digestOf(this.#hash, Buffer.alloc(0)),
    });
  }

  /** `transcriptHash`: up to ServerHello. */
  handshake(transcriptHash: Buffer): TrafficSecrets {
    const secret = this.#handshakeSecret;
    return {
      client: expandLabel(this.#hash, secret, { label: 'c hs traffic', context: transcriptHash }),
      server: expandLabel(this.#hash, secret, { label: 's hs traffic', context: transcriptHash }),
    };
  }

  /** The client's secret for data; `transcriptHash`: up to the server's Finished. */
  clientData(transcriptHash: Buffer): Buffer {
    const master = hmac(
      this.#hash,
      this.#derived(this.#handshakeSecret),
      Buffer.alloc(lengthOf(this.#hash)),
    );
    return expandLabel(this.#hash, master, { label: 'c ap traffic', context: transcriptHash });
  }
}

/** The content of Finished (RFC 8446 section 4.4.4). */
export const finishedOf = (hash: Hash, secret: Buffer, transcriptHash: Buffer): Buffer =>
  hmac(hash, expandLabel(hash, secret, { label: 'finished' }), transcriptHash);

/** Protects or opens the records of one direction and stage (RFC 8446 section 5.2 and 5.3). */
export class RecordKey {
  readonly #suite: Suite;
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0n;

  constructor(suite: Suite, secret: Buffer) {
    this.#suite = suite;
    this.#key = expandLabel(suite.hash, secret, { label: 'key', length: suite.keyLength });
    this.#iv = expandLabel(suite.hash, secret, { label: 'iv', length: 12 });
  }

  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.#sequence, 4);
    this.#sequence += 1n;
    return nonce;
  }

  /** Throws ProbeFailure for a record that was not protected with this key. */
  open(header: Buffer, body: Buffer): { readonly type: number; readonly content: Buffer } {
    if (body.length < 17) throw new ProbeFailure('the server sent a record that is too short');
    const decipher = createDecipheriv(
      this.#suite.cipher as 'aes-128-gcm',
      this.#key,
      this.#nonce(),
      {
        authTagLength: 16,
      },
    );
    decipher.setAAD(header, { plaintextLength: body.length - 16 });
    decipher.setAuthTag(body.subarray(-16));
    const inner = opened(decipher, body.subarray(0, -16));
    let end = inner.length;
    while (end > 0 && inner[end - 1] === 0) end -= 1;
    if (end === 0) throw new ProbeFailure('the server sent a record without a type');
    return { type: inner[end - 1] as number, content: inner.subarray(0, end - 1) };
  }

  seal(type: number, content: Buffer): Buffer {
    const inner = Buffer.concat([content, Buffer.of(type)]);
    const header = Buffer.concat([Buffer.of(contentType.data, 3, 3), uint(2, inner.length + 16)]);
    const cipher = createCipheriv(this.#suite.cipher as 'aes-128-gcm', this.#key, this.#nonce(), {
      authTagLength: 16,
    });
    cipher.setAAD(header, { plaintextLength: inner.length });
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }
}

function opened(decipher: ReturnType<typeof createDecipheriv>, body: Buffer): Buffer {
  try {
    return Buffer.concat([decipher.update(body), decipher.final()]);
  } catch (thrown) {
    throw new ProbeFailure('the server sent a record that does not decrypt', { cause: thrown });
  }
}

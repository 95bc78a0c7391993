import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { base64urlBytes } from './encoding.ts';

export interface NoncesOptions {
  /**
   * At least 32 secret bytes, the same in every replica and after every start, so that a nonce of
   * one is good at another.
   */
  readonly key: Buffer;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Pick<Random, 'bytes'>;
  readonly lifeSeconds: number;
}

/** A nonce that this CA made and that has not expired. Whether it was used is another question. */
export interface GoodNonce {
  /** 24 characters that identify it, for the mark that it was used. */
  readonly id: string;
  /** Unix seconds. From then on its mark may be forgotten. */
  readonly expiresAt: number;
}

const timeBytes = 5;
const randomBytes = 13;
const bodyBytes = timeBytes + randomBytes;
const macBytes = 16;

/**
 * Anti-replay nonces (RFC 8555 section 6.5) without a memory: time and randomness under a MAC. The
 * MAC is judged before anything else of a request, so that only who has asked for a nonce can make
 * the CA verify signatures.
 */
export class Nonces {
  readonly #options: NoncesOptions;
  // with bytes an HMAC costs five times as much
  readonly #key: KeyObject;

  constructor(options: NoncesOptions) {
    if (options.key.length < 32) throw new RangeError('the key of nonces has at least 32 bytes');
    this.#options = options;
    this.#key = createSecretKey(options.key);
  }

  /** Base64url, 46 characters. */
  issue(): string {
    const { clock, random } = this.#options;
    const body = Buffer.alloc(bodyBytes);
    body.writeUIntBE(clock.now(), 0, timeBytes);
    random.bytes(randomBytes).copy(body, timeBytes);
    return Buffer.concat([body, this.#mac(body)]).toString('base64url');
  }

  /** Undefined: not made here, altered, expired, or from a clock that was ahead of this one. */
  judge(nonce: string): GoodNonce | undefined {
    const { clock, lifeSeconds } = this.#options;
    const bytes = base64urlBytes(nonce);
    if (bytes?.length !== bodyBytes + macBytes) return undefined;
    const body = bytes.subarray(0, bodyBytes);
    if (!timingSafeEqual(bytes.subarray(bodyBytes), this.#mac(body))) return undefined;
    const issuedAt = body.readUIntBE(0, timeBytes);
    const now = clock.now();
    // replicas may be some seconds apart
    if (issuedAt > now + 60 || now >= issuedAt + lifeSeconds) return undefined;
    return { id: body.toString('base64url'), expiresAt: issuedAt + lifeSeconds };
  }

  #mac(body: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(body).digest().subarray(0, macBytes);
  }
}

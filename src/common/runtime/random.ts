import { randomBytes, randomFillSync } from 'node:crypto';

/**
 * Entropy as an argument. `uniform` is for jitter and may be seeded in tests; `bytes` must be a
 * CSPRNG in production.
 */
export interface Random {
  /** [0, 1) */
  uniform(): number;
  bytes(length: number): Buffer;
}

export const systemRandom: Random = {
  uniform: () => Math.random(),
  bytes: (length) => (length > 64 ? randomBytes(length) : Buffer.from(fromPool(length))),
};

const pool = Buffer.alloc(4096);
let used = pool.length;

/**
 * Some bytes of the CSPRNG, taken from a pool, since four thousand bytes cost as much as a few.
 * Valid until the next call. No byte is given out twice.
 */
function fromPool(length: number): Buffer {
  if (used + length > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += length;
  return pool.subarray(used - length, used);
}

/**
 * UUID version 7 (RFC 9562): starts with the time in milliseconds, so that indexes over it stay
 * local.
 */
export function uuidv7(nowMs: number = Date.now()): string {
  const tail = fromPool(10);
  const time = Math.floor(nowMs).toString(16).padStart(12, '0');
  const hex = tail.toString('hex');
  const variant = (((tail[2] as number) & 0x3f) | 0x80).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(1, 4)}-${variant}${hex.slice(6, 8)}-${hex.slice(8, 20)}`;
}

/** The form of our IDs, for paths of URLs. */
export const uuidForm = '[0-9a-f-]{36}';

const wholeUuid = new RegExp(`^${uuidForm}$`);

/** Whether a text has the form of an ID. It says nothing of whose. */
export const isUuid = (text: string): boolean => wholeUuid.test(text);

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

const digitsOfId = 19;
/** The two random bits beside the two that state the variant. */
const variants = ['8', '9', 'a', 'b'] as const;
/** Hexadecimal digits of the CSPRNG. None is used twice. */
let digits = '';
let digitsUsed = 0;
/** The begin of the IDs of one millisecond: a batch has many of them. */
let timeMs = Number.NaN;
let timeText = '';

/**
 * UUID version 7 (RFC 9562): starts with the time in milliseconds, so that indexes over it stay
 * local. The digits are drawn for many IDs at once, since each conversion of bytes costs more than
 * the rest.
 */
export function uuidv7(nowMs: number = Date.now()): string {
  if (digitsUsed + digitsOfId > digits.length) {
    digits = randomBytes(4096).toString('hex');
    digitsUsed = 0;
  }
  const at = digitsUsed;
  digitsUsed += digitsOfId;
  if (nowMs !== timeMs) {
    timeMs = nowMs;
    const time = Math.floor(nowMs).toString(16).padStart(12, '0');
    timeText = `${time.slice(0, 8)}-${time.slice(8)}`;
  }
  const variant = variants[Number.parseInt(digits.charAt(at), 16) & 3] as string;
  return `${timeText}-7${digits.slice(at + 1, at + 4)}-${variant}${digits.slice(at + 4, at + 7)}-${digits.slice(at + 7, at + 19)}`;
}

/** The form of our IDs, for paths of URLs. */
export const uuidForm = '[0-9a-f-]{36}';

const wholeUuid = new RegExp(`^${uuidForm}$`);

/** Whether a text has the form of an ID. It says nothing of whose. */
export const isUuid = (text: string): boolean => wholeUuid.test(text);

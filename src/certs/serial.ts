import type { Random } from '../common/runtime/index.ts';

/**
 * Makes a serial of 16 octets: 6 octets of the time in milliseconds, so that indexes over serials
 * stay local, then 80 random bits. The second bit is always set. Therefore the INTEGER is positive,
 * never has a leading zero octet, and its hex has 32 digits.
 */
export function newSerial(nowMs: number, random: Random): Buffer {
  const serial = Buffer.allocUnsafe(16);
  serial.writeUIntBE(Math.floor(nowMs), 0, 6);
  serial[0] = 0x40 | ((serial[0] as number) & 0x3f);
  serial.set(random.bytes(10), 6);
  return serial;
}

/** The instant in a serial of ours (lower-case hex), Unix milliseconds. */
export const serialTimeMs = (serial: string): number =>
  Number.parseInt(serial.slice(0, 12).padEnd(12, '0'), 16) - 0x40 * 2 ** 40;

import { revocationReasons, type RevocationReason } from '../domain/index.ts';

/**
 * One entry of a CRL in 30 octets, so that many of them go to another thread as one buffer: length
 * of the serial, serial (20), reason, and the Unix second of the revocation as a double.
 */
export const entryBytes = 30;
const serialBytes = 20;
const reasonAt = 1 + serialBytes;
const timeAt = reasonAt + 1;

export interface RevokedEntry {
  /** Lower-case hex. */
  readonly serialHex: string;
  /** Unix seconds. */
  readonly revokedAt: number;
  readonly reason: RevocationReason;
}

/** `serial` has at most 20 octets; `reason` is a place in `revocationReasons`. */
export function writeEntry(
  into: Buffer,
  at: number,
  serial: Uint8Array,
  { reason, revokedAt }: { readonly reason: number; readonly revokedAt: number },
): void {
  into[at] = serial.length;
  into.set(serial, at + 1);
  into[at + reasonAt] = reason;
  into.writeDoubleBE(revokedAt, at + timeAt);
}

export function* readEntries(parts: readonly Uint8Array[]): Generator<RevokedEntry> {
  for (const part of parts) {
    const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
    for (let at = 0; at < bytes.length; at += entryBytes)
      yield {
        serialHex: bytes.toString('hex', at + 1, at + 1 + (bytes[at] as number)),
        revokedAt: bytes.readDoubleBE(at + timeAt),
        reason: revocationReasons[bytes[at + reasonAt] as number] as RevocationReason,
      };
  }
}

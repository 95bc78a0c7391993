import { createHash } from 'node:crypto';

const leafPrefix = Buffer.from([0]);
const nodePrefix = Buffer.from([1]);

/** SHA-256 over 0x00 and the entry (RFC 9162 section 2.1.1). */
export const leafHash = (entry: Buffer): Buffer =>
  createHash('sha256').update(leafPrefix).update(entry).digest();

/** SHA-256 over 0x01 and the two children. */
export const nodeHash = (left: Buffer, right: Buffer): Buffer =>
  createHash('sha256').update(nodePrefix).update(left).update(right).digest();

/** The root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Buffer = createHash('sha256').digest();

export const hashBytes = 32;

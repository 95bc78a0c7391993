import { hash } from 'node:crypto';

const leafPrefix = Buffer.from([0]);
const nodePrefix = Buffer.from([1]);

/** Where the parts of an entry or node are put together. Nearly all entries are shorter. */
const together = Buffer.alloc(4096);

/**
 * In one call, and without a buffer of its own: a tree has millions of nodes, and an object for each
 * costs a third more.
 */
function sha256(...parts: readonly Buffer[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  if (length > together.length) return hash('sha256', Buffer.concat(parts), 'buffer');
  let at = 0;
  for (const part of parts) {
    together.set(part, at);
    at += part.length;
  }
  return hash('sha256', together.subarray(0, length), 'buffer');
}

/** SHA-256 over 0x00 and the entry (RFC 9162 section 2.1.1). */
export const leafHash = (entry: Buffer): Buffer => sha256(leafPrefix, entry);

/** SHA-256 over 0x01 and the two children. */
export const nodeHash = (left: Buffer, right: Buffer): Buffer => sha256(nodePrefix, left, right);

/** The root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Buffer = sha256();

export const hashBytes = 32;

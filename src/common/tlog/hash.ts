import { hash } from 'node:crypto';

const leafPrefix = Buffer.from([0]);
const nodePrefix = Buffer.from([1]);

/** In one call: a tree has millions of nodes, and an object for each costs a third more. */
const sha256 = (...parts: readonly Buffer[]): Buffer =>
  hash('sha256', Buffer.concat(parts), 'buffer');

/** SHA-256 over 0x00 and the entry (RFC 9162 section 2.1.1). */
export const leafHash = (entry: Buffer): Buffer => sha256(leafPrefix, entry);

/** SHA-256 over 0x01 and the two children. */
export const nodeHash = (left: Buffer, right: Buffer): Buffer => sha256(nodePrefix, left, right);

/** The root of a tree without leaves: SHA-256 of nothing. */
export const emptyRoot: Buffer = sha256();

export const hashBytes = 32;

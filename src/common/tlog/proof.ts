import type { NodeReader } from './compact-range.ts';
import { emptyRoot, nodeHash } from './hash.ts';

/** The root of the tree of the first `size` leaves (RFC 9162 section 2.1.1). */
export const rootAt = (size: number, read: NodeReader): Buffer =>
  size === 0 ? emptyRoot : rangeHash(0, size, read);

/**
 * The audit path of leaf `index` in the tree of `size` leaves (RFC 9162 section 2.1.3.1), from the
 * leaf up.
 */
export function inclusionProof(index: number, size: number, read: NodeReader): readonly Buffer[] {
  if (!(index >= 0 && index < size))
    throw new RangeError(`leaf ${index} is outside a tree of ${size}`);
  const path = (start: number, end: number): Buffer[] => {
    if (end - start === 1) return [];
    const split = start + splitOf(end - start);
    return index < split
      ? [...path(start, split), rangeHash(split, end, read)]
      : [...path(split, end), rangeHash(start, split, read)];
  };
  return path(0, size);
}

/**
 * Proof that the tree of `from` leaves is a beginning of the tree of `to` leaves (RFC 9162 section
 * 2.1.4.1). Empty for 0 and for equal sizes.
 */
export function consistencyProof(from: number, to: number, read: NodeReader): readonly Buffer[] {
  if (!(from >= 0 && from <= to))
    throw new RangeError(`a tree of ${from} can not be the beginning of one of ${to}`);
  if (from === 0) return [];
  const path = (start: number, end: number, known: boolean): Buffer[] => {
    if (end === from) return known ? [] : [rangeHash(start, end, read)];
    const split = start + splitOf(end - start);
    return from <= split
      ? [...path(start, split, known), rangeHash(split, end, read)]
      : [...path(split, end, false), rangeHash(start, split, read)];
  };
  return path(0, to, true);
}

/** RFC 9162 section 2.1.3.2. */
export function verifyInclusion(input: {
  readonly index: number;
  readonly size: number;
  readonly leaf: Buffer;
  readonly proof: readonly Buffer[];
  readonly root: Buffer;
}): boolean {
  const { index, size, leaf, proof, root } = input;
  if (!isSize(size) || !isSize(index) || index >= size) return false;
  let node = index;
  let last = size - 1;
  let hash = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      while (node % 2 === 0 && node !== 0) {
        node /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && hash.equals(root);
}

/** RFC 9162 section 2.1.4.2; a tree of 0 is the beginning of every tree, with an empty proof. */
export function verifyConsistency(input: {
  readonly from: number;
  readonly to: number;
  readonly fromRoot: Buffer;
  readonly toRoot: Buffer;
  readonly proof: readonly Buffer[];
}): boolean {
  const { from, to, fromRoot, toRoot, proof } = input;
  if (!isSize(from) || !isSize(to) || from > to) return false;
  if (from === to) return proof.length === 0 && fromRoot.equals(toRoot);
  if (from === 0) return proof.length === 0 && fromRoot.equals(emptyRoot);
  const path = isPowerOfTwo(from) ? [fromRoot, ...proof] : [...proof];
  const first = path.shift();
  if (first === undefined) return false;
  let node = from - 1;
  let last = to - 1;
  while (node % 2 === 1) {
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  let older = first;
  let newer = first;
  for (const sibling of path) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      older = nodeHash(sibling, older);
      newer = nodeHash(sibling, newer);
      while (node % 2 === 0 && node !== 0) {
        node /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      newer = nodeHash(newer, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && older.equals(fromRoot) && newer.equals(toRoot);
}

/** `start` is always a multiple of the subtree's width here, so every complete half can be read. */
function rangeHash(start: number, end: number, read: NodeReader): Buffer {
  const width = end - start;
  if (isPowerOfTwo(width)) return read(Math.log2(width), start / width);
  const split = start + splitOf(width);
  return nodeHash(rangeHash(start, split, read), rangeHash(split, end, read));
}

/** The largest power of two below `width`. */
function splitOf(width: number): number {
  let split = 1;
  while (split * 2 < width) split *= 2;
  return split;
}

const isPowerOfTwo = (value: number): boolean =>
  Number.isInteger(Math.log2(value)) && 2 ** Math.log2(value) === value;
const isSize = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

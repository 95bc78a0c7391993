import { emptyRoot, nodeHash } from './hash.ts';

/** The hash of a complete subtree of 2^level leaves that starts at leaf `index * 2^level`. */
export type NodeReader = (level: number, index: number) => Buffer;

/** Called for each complete subtree that an append closes, leaves (level 0) included. */
export type NodeSink = (level: number, index: number, hash: Buffer) => void;

/**
 * The right edge of a growing Merkle tree: the roots of its complete subtrees, largest first, one
 * for each bit that is set in its size. It suffices to append and to compute the root. Sizes are
 * whole numbers below 2^53.
 */
export class CompactRange {
  #size = 0;
  readonly #hashes: Buffer[] = [];

  /** The edge of an existing tree. */
  static at(size: number, read: NodeReader): CompactRange {
    const range = new CompactRange();
    for (const { level, index } of edgeOf(size)) range.#hashes.push(read(level, index));
    range.#size = size;
    return range;
  }

  get size(): number {
    return this.#size;
  }

  append(leaf: Buffer, sink?: NodeSink): void {
    let hash = leaf;
    let index = this.#size;
    sink?.(0, index, hash);
    for (let level = 1; index % 2 === 1; level += 1) {
      hash = nodeHash(this.#hashes.pop() as Buffer, hash);
      index = (index - 1) / 2;
      sink?.(level, index, hash);
    }
    this.#hashes.push(hash);
    this.#size += 1;
  }

  root(): Buffer {
    return this.#hashes.length === 0
      ? emptyRoot
      : this.#hashes.reduceRight((right, left) => nodeHash(left, right));
  }

  clone(): CompactRange {
    const range = new CompactRange();
    range.#hashes.push(...this.#hashes);
    range.#size = this.#size;
    return range;
  }
}

/** Complete subtrees that make up a tree of this size, from the left. */
function edgeOf(size: number): readonly { readonly level: number; readonly index: number }[] {
  const nodes: { level: number; index: number }[] = [];
  let start = 0;
  for (let level = 52; level >= 0; level -= 1) {
    const width = 2 ** level;
    if (Math.floor(size / width) % 2 === 1) {
      nodes.push({ level, index: start / width });
      start += width;
    }
  }
  return nodes;
}

import { nextTurn } from '../common/runtime/index.ts';
import {
  inclusionProof,
  nodesFromTiles,
  verifyInclusion,
  type NodeReader,
  type TileAddress,
} from '../common/tlog/index.ts';
import type { LogStore } from '../store/ports/index.ts';

class TileMissing extends Error {
  readonly address: TileAddress;
  constructor(address: TileAddress) {
    super(`tile ${address.level}/${address.index}`);
    this.address = address;
  }
}

/**
 * Runs a calculation over nodes of the stored tree, and reads the tiles that it needs in between.
 *
 * @throws RangeError if the tree lacks a tile
 */
export async function withTiles<T>(
  log: Pick<LogStore, 'tile'>,
  calculate: (read: NodeReader) => T,
): Promise<T> {
  const tiles = new Map<string, Buffer>();
  const fromTiles = nodesFromTiles((address) => {
    const tile = tiles.get(`${address.level}/${address.index}`);
    if (tile === undefined) throw new TileMissing(address);
    return tile;
  });
  // The calculation begins again after each tile: without this it would hash all nodes again.
  const nodes = new Map<string, Buffer>();
  const read: NodeReader = (level, index) => {
    const key = `${level}/${index}`;
    let node = nodes.get(key);
    if (node === undefined) nodes.set(key, (node = fromTiles(level, index)));
    return node;
  };
  for (;;) {
    try {
      return calculate(read);
    } catch (thrown) {
      if (!(thrown instanceof TileMissing)) throw thrown;
      const { level, index } = thrown.address;
      const hashes = await log.tile(level, index);
      if (hashes === undefined) throw new RangeError(`the tree has no tile ${level}/${index}`);
      tiles.set(`${level}/${index}`, hashes);
    }
  }
}

/**
 * Whether leaf `index` of the stored tree has this hash, by an inclusion proof under a known head.
 * The proof has a turn of the loop for itself: it takes a thousand hashes.
 */
export async function isUnder(
  log: Pick<LogStore, 'tile'>,
  head: { readonly size: number; readonly root: Buffer },
  index: number,
  leaf: Buffer,
): Promise<boolean> {
  await nextTurn();
  try {
    const proof = await withTiles(log, (read) => inclusionProof(index, head.size, read));
    return verifyInclusion({ index, size: head.size, leaf, proof, root: head.root });
  } catch (thrown) {
    if (thrown instanceof RangeError) return false;
    throw thrown;
  }
}

import { nodesFromTiles, type NodeReader, type TileAddress } from '../common/tlog/index.ts';
import type { LogStore } from '../store/contract.ts';

class TileMissing extends Error {
  readonly address: TileAddress;
  constructor(address: TileAddress) {
    super(`tile ${address.level}/${address.index}`);
    this.address = address;
  }
}

/** Runs a calculation over nodes of the stored tree; the tiles that it turns out to need are read in between. Throws RangeError where the tree lacks them. */
export async function withTiles<T>(log: Pick<LogStore, 'tile'>, calculate: (read: NodeReader) => T): Promise<T> {
  const tiles = new Map<string, Buffer>();
  const read = nodesFromTiles((address) => {
    const found = tiles.get(`${address.level}/${address.index}`);
    if (found === undefined) throw new TileMissing(address);
    return found;
  });
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

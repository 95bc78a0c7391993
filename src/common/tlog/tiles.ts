import { CompactRange, type NodeReader } from './compact-range.ts';
import { hashBytes } from './hash.ts';

/**
 * Layout of C2SP tlog-tiles: a tile holds up to 256 consecutive hashes, eight levels of the tree
 * apart from the next one.
 */
const tileHeight = 8;
export const tileWidth = 2 ** tileHeight;

export interface TileAddress {
  /** Level of tiles: 0 holds leaf hashes. */
  readonly level: number;
  readonly index: number;
}

/**
 * `tile/0/x001/234.p/17`: the path of a tile below the log's prefix; `width` below 256 is a partial
 * tile.
 */
export function tilePath({ level, index }: TileAddress, width: number = tileWidth): string {
  let rest = Math.floor(index / 1000);
  let path = String(index % 1000).padStart(3, '0');
  for (; rest > 0; rest = Math.floor(rest / 1000))
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  return `tile/${level}/${path}${width === tileWidth ? '' : `.p/${width}`}`;
}

/**
 * Reads nodes of any level from tiles: those between two tile levels are hashed from the tile
 * below. Throws RangeError where a tile lacks the hashes.
 */
export function nodesFromTiles(tile: (address: TileAddress) => Buffer | undefined): NodeReader {
  return (level, index) => {
    const tileLevel = Math.floor(level / tileHeight);
    const below = 2 ** (level % tileHeight);
    const first = index * below;
    const address = { level: tileLevel, index: Math.floor(first / tileWidth) };
    const hashes = tile(address);
    const offset = (first % tileWidth) * hashBytes;
    if (hashes === undefined || hashes.length < offset + below * hashBytes)
      throw new RangeError(`${tilePath(address)} lacks the node ${index} of level ${level}`);
    const range = new CompactRange();
    for (let at = 0; at < below; at += 1)
      range.append(hashes.subarray(offset + at * hashBytes, offset + (at + 1) * hashBytes));
    return range.root();
  };
}

/**
 * Takes nodes as an append closes them and gathers the tiles that changed. `load` gives the present
 * content of a tile that is continued.
 */
export class TileCollector {
  readonly #load: (address: TileAddress) => Buffer | undefined;
  readonly #changed = new Map<string, { readonly address: TileAddress; hashes: Buffer[] }>();

  constructor(load: (address: TileAddress) => Buffer | undefined) {
    this.#load = load;
  }

  readonly add = (level: number, index: number, hash: Buffer): void => {
    if (level % tileHeight !== 0) return;
    const address = { level: level / tileHeight, index: Math.floor(index / tileWidth) };
    const key = `${address.level}/${address.index}`;
    let tile = this.#changed.get(key);
    if (tile === undefined) {
      const before = index % tileWidth === 0 ? undefined : this.#load(address);
      if (
        index % tileWidth !== 0 &&
        (before === undefined || before.length < (index % tileWidth) * hashBytes)
      )
        throw new RangeError(`${tilePath(address)} lacks its beginning`);
      tile = {
        address,
        hashes: before === undefined ? [] : [before.subarray(0, (index % tileWidth) * hashBytes)],
      };
      this.#changed.set(key, tile);
    }
    tile.hashes.push(hash);
  };

  changed(): readonly { readonly address: TileAddress; readonly hashes: Buffer }[] {
    return [...this.#changed.values()].map(({ address, hashes }) => ({
      address,
      hashes: Buffer.concat(hashes),
    }));
  }
}

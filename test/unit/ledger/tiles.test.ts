import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CompactRange,
  inclusionProof,
  leafHash,
  TileCollector,
  tileWidth,
  type TileAddress,
} from '../../../src/common/tlog/index.ts';
import { isUnder, withTiles } from '../../../src/ledger/index.ts';

const keyOf = ({ level, index }: TileAddress): string => `${level}/${index}`;

/** A stored tree of so many leaves. */
function treeOf(size: number) {
  const tiles = new Map<string, Buffer>();
  const collector = new TileCollector((address) => tiles.get(keyOf(address)));
  const range = new CompactRange();
  const leaves = Array.from({ length: size }, (_, index) => leafHash(Buffer.from(`${index}`)));
  for (const leaf of leaves) range.append(leaf, collector.add);
  for (const { address, hashes } of collector.changed()) tiles.set(keyOf(address), hashes);
  return { tiles, leaves, head: { size, root: range.root() } };
}

test('a proof from stored tiles reads each tile once, and each node once', async () => {
  const { tiles, leaves, head } = treeOf(3 * tileWidth * 2 + 77);
  const asked: string[] = [];
  const log = {
    tile: (level: number, index: number) => {
      asked.push(keyOf({ level, index }));
      return Promise.resolve(tiles.get(keyOf({ level, index })));
    },
  };
  const nodes = new Map<string, Set<Buffer>>();
  const proof = await withTiles(log, (read) =>
    inclusionProof(300, head.size, (level, index) => {
      const node = read(level, index);
      const seen = nodes.get(`${level}/${index}`) ?? new Set();
      nodes.set(`${level}/${index}`, seen.add(node));
      return node;
    }),
  );
  assert.ok(proof.length > 8);
  assert.equal(new Set(asked).size, asked.length, 'a tile was read again');
  for (const [key, seen] of nodes) assert.equal(seen.size, 1, `${key} was hashed again`);
  assert.ok(await isUnder(log, head, 300, leaves[300] as Buffer));
  assert.ok(!(await isUnder(log, head, 301, leaves[300] as Buffer)));
});

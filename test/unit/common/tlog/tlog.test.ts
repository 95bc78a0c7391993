import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import {
  checkpointText,
  CompactRange,
  consistencyProof,
  ecdsaNoteKey,
  emptyRoot,
  formatNote,
  formatVerifierKey,
  inclusionProof,
  leafHash,
  nodeHash,
  nodesFromTiles,
  openCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  rootAt,
  TileCollector,
  tilePath,
  verifyConsistency,
  verifyInclusion,
  type NoteKey,
  tileWidth,
} from '../../../../src/common/tlog/index.ts';
import { spkiOf } from '../../../../src/common/x509/index.ts';

/** The definition of RFC 9162 section 2.1.1, as plainly as it can be written. */
function definition(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return createHash('sha256').digest();
  if (leaves.length === 1) return leaves[0] as Buffer;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(definition(leaves.slice(0, k)), definition(leaves.slice(k)));
}

/** The eight entries of the test vectors that Certificate Transparency implementations share. */
const vectorEntries = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((hex) => Buffer.from(hex, 'hex'));
const vectorRoots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

const leavesOf = (count: number): Buffer[] =>
  Array.from({ length: count }, (_, index) => leafHash(Buffer.from(`record ${index}`)));

function treeOf(leaves: readonly Buffer[]): {
  readonly read: (level: number, index: number) => Buffer;
  readonly range: CompactRange;
} {
  const nodes = new Map<string, Buffer>();
  const range = new CompactRange();
  for (const leaf of leaves)
    range.append(leaf, (level, index, hash) => void nodes.set(`${level}/${index}`, hash));
  return {
    range,
    read: (level, index) =>
      nodes.get(`${level}/${index}`) ?? assert.fail(`no node ${level}/${index}`),
  };
}

/** How many hashes the tile has in a tree of `size` leaves; 0: it does not exist. */
function tileWidthAt({ level, index }: { level: number; index: number }, size: number): number {
  const entries = Math.floor(size / tileWidth ** level) - index * tileWidth;
  return Math.max(0, Math.min(tileWidth, entries));
}

test('roots are those of the shared test vectors', () => {
  const range = new CompactRange();
  assert.ok(range.root().equals(emptyRoot));
  for (const [index, entry] of vectorEntries.entries()) {
    range.append(leafHash(entry));
    assert.equal(range.root().toString('hex'), vectorRoots[index]);
  }
});

test('every inclusion proof up to 70 leaves verifies, and none for another leaf, index, size or root', () => {
  const leaves = leavesOf(70);
  const { read } = treeOf(leaves);
  for (let size = 1; size <= 70; size += 1) {
    const root = definition(leaves.slice(0, size));
    assert.ok(rootAt(size, read).equals(root));
    for (let index = 0; index < size; index += 1) {
      const proof = inclusionProof(index, size, read);
      const leaf = leaves[index] as Buffer;
      assert.ok(verifyInclusion({ index, size, leaf, proof, root }), `${index} of ${size}`);
      assert.ok(
        !verifyInclusion({ index, size, leaf: leafHash(Buffer.from('other')), proof, root }),
      );
      assert.ok(!verifyInclusion({ index: (index + 1) % (size + 1), size, leaf, proof, root }));
      assert.ok(!verifyInclusion({ index, size, leaf, proof: [...proof, emptyRoot], root }));
      if (proof.length > 0)
        assert.ok(!verifyInclusion({ index, size, leaf, proof: proof.slice(1), root }));
    }
  }
});

test('every consistency proof up to 70 leaves verifies, and none for a tree that was rewritten', () => {
  const leaves = leavesOf(70);
  const { read } = treeOf(leaves);
  const other = treeOf([
    ...leaves.slice(0, 3),
    leafHash(Buffer.from('rewritten')),
    ...leaves.slice(4),
  ]);
  for (let to = 0; to <= 70; to += 1) {
    for (let from = 0; from <= to; from += 1) {
      const proof = consistencyProof(from, to, read);
      const [fromRoot, toRoot] = [rootAt(from, read), rootAt(to, read)];
      assert.ok(verifyConsistency({ from, to, fromRoot, toRoot, proof }), `${from} to ${to}`);
      if (from > 3)
        assert.ok(
          !verifyConsistency({ from, to, fromRoot: rootAt(from, other.read), toRoot, proof }),
        );
      if (from > 0 && from < to) {
        assert.ok(!verifyConsistency({ from, to, fromRoot, toRoot: emptyRoot, proof }));
        assert.ok(!verifyConsistency({ from, to, fromRoot, toRoot, proof: [...proof, emptyRoot] }));
        assert.ok(!verifyConsistency({ from, to, fromRoot, toRoot, proof: proof.slice(1) }));
      }
    }
  }
});

test('a range taken up from stored nodes goes on as if it had never stopped', () => {
  const leaves = leavesOf(40);
  for (let stop = 0; stop <= 40; stop += 1) {
    const { read } = treeOf(leaves.slice(0, stop));
    const range = CompactRange.at(stop, read);
    const copy = range.clone();
    for (const leaf of leaves.slice(stop)) range.append(leaf);
    assert.ok(range.root().equals(definition(leaves)));
    assert.equal(copy.size, stop, 'a clone stands for itself');
  }
});

test('tiles collected in pieces give every node back, over more than one level of tiles', () => {
  const leaves = leavesOf(66_000);
  const tiles = new Map<string, Buffer>();
  const load = ({ level, index }: { level: number; index: number }): Buffer | undefined =>
    tiles.get(`${level}/${index}`);
  const plain = treeOf(leaves);
  let range = new CompactRange();
  for (let at = 0; at < leaves.length; at += 997) {
    const collector = new TileCollector(load);
    range = CompactRange.at(range.size, nodesFromTiles(load));
    for (const leaf of leaves.slice(at, at + 997)) range.append(leaf, collector.add);
    for (const { address, hashes } of collector.changed())
      tiles.set(`${address.level}/${address.index}`, hashes);
  }
  assert.ok(range.root().equals(plain.range.root()));
  const read = nodesFromTiles(load);
  for (const size of [1, 255, 256, 257, 65_535, 65_536, 65_537, 66_000])
    assert.ok(rootAt(size, read).equals(rootAt(size, plain.read)), `${size}`);
  for (const [key, hashes] of tiles) {
    const [level, index] = key.split('/').map(Number) as [number, number];
    assert.equal(hashes.length / 32, tileWidthAt({ level, index }, 66_000), key);
  }
  assert.throws(() => rootAt(66_001, read), RangeError);
});

test('paths of tiles are those of the specification', () => {
  assert.equal(tilePath({ level: 0, index: 1_234_067 }), 'tile/0/x001/x234/067');
  assert.equal(tilePath({ level: 1, index: 0 }, 17), 'tile/1/000.p/17');
  assert.deepEqual(
    [0, 1, 2].map((level) =>
      tileWidthAt({ level, index: level === 0 ? 273 : level === 1 ? 1 : 0 }, 70_000),
    ),
    [112, 17, 1],
  );
});

const origin = 'mesh.test/meshca/audit';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const key: NoteKey = ecdsaNoteKey(origin, spkiOf(privateKey));
const signed = (text: string, by = privateKey, as = key): string =>
  formatNote({
    text,
    signatures: [{ name: as.name, keyId: as.id, signature: sign('sha256', Buffer.from(text), by) }],
  });
const head = { origin, size: 17, root: leafHash(Buffer.from('root')) };

test('a signed checkpoint opens, and is refused under another key, origin, size or with its signature cut', () => {
  const note = signed(checkpointText(head));
  const opened = openCheckpoint(note, key);
  assert.ok(opened.ok && opened.value.size === 17 && opened.value.root.equals(head.root));
  const refused = (text: string): void => {
    const result = openCheckpoint(text, key);
    assert.equal(result.ok ? 'opened' : result.error.code, 'CHECKPOINT_INVALID', text);
  };
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  refused(signed(checkpointText(head), other));
  refused(signed(checkpointText(head), other, ecdsaNoteKey(origin, spkiOf(other))));
  refused(signed(checkpointText({ ...head, origin: 'mesh.other/meshca/audit' })));
  refused(note.replace('\n17\n', '\n18\n'));
  refused(note.slice(0, note.lastIndexOf('\u2014')));
  refused(note.slice(0, -6));
  for (const size of ['017', '-1', '1e3', '9007199254740993', ''])
    refused(signed(`${origin}\n${size}\n${head.root.toString('base64')}\n`));
  refused(signed(`${origin}\n17\n${head.root.subarray(1).toString('base64')}\n`));
});

test('lines of unknown keys are ignored, an invalid one of the known key is not', () => {
  const text = checkpointText(head);
  const foreign = {
    name: 'witness.example/w1',
    keyId: Buffer.from('01020304', 'hex'),
    signature: Buffer.alloc(72, 1),
  };
  const mine = {
    name: key.name,
    keyId: key.id,
    signature: sign('sha256', Buffer.from(text), privateKey),
  };
  assert.ok(openCheckpoint(formatNote({ text, signatures: [foreign, mine] }), key).ok);
  assert.ok(
    !openCheckpoint(
      formatNote({ text, signatures: [mine, { ...mine, signature: Buffer.alloc(70, 1) }] }),
      key,
    ).ok,
  );
});

test('notes are read strictly', () => {
  const note = signed(checkpointText(head));
  for (const bad of [
    '',
    'a\n',
    'a\n\n',
    `${note}x`,
    note.replace('\u2014', '-'),
    note.replace('\n', '\r\n'),
    Buffer.concat([Buffer.from([0xff]), Buffer.from(note)]),
    `${note}${'\u2014 a AAAAAAA=\n'.repeat(40)}`,
  ]) {
    assert.equal(parseNote(bad).ok, false, JSON.stringify(String(bad).slice(0, 40)));
  }
  assert.ok(parseCheckpoint(signed(`${checkpointText(head)}extension\n`)).ok);
});

test('verifier keys go out and in, and a key ID that does not belong to the key is refused', () => {
  const text = formatVerifierKey(key);
  const parsed = parseVerifierKey(text);
  assert.ok(parsed.ok && parsed.value.id.equals(key.id) && parsed.value.name === origin);
  assert.ok(openCheckpoint(signed(checkpointText(head)), parsed.value).ok);
  const [name, id, rest] = text.split('+') as [string, string, string];
  assert.equal(
    parseVerifierKey(`${name}+${id.replace(/./, (digit) => (digit === '0' ? '1' : '0'))}+${rest}`)
      .ok,
    false,
  );
  for (const bad of ['', 'a', `${name}+${id}`, `${name}+${id}+AAAA`])
    assert.equal(parseVerifierKey(bad).ok, false);
});

test('a witness cosignature verifies with its time, and not with another', () => {
  const pair = generateKeyPairSync('ed25519');
  const raw = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const name = 'witness.example/w1';
  const id = createHash('sha256')
    .update(`${name}\n`)
    .update(Buffer.from([4]))
    .update(raw)
    .digest()
    .subarray(0, 4);
  const witness = parseVerifierKey(
    `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.from([4]), raw]).toString('base64')}`,
  );
  assert.ok(witness.ok);
  const text = checkpointText({ ...head, origin: name });
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(1_800_000_000n);
  const signature = Buffer.concat([
    time,
    sign(null, Buffer.from(`cosignature/v1\ntime 1800000000\n${text}`), pair.privateKey),
  ]);
  assert.ok(
    openCheckpoint(
      formatNote({ text, signatures: [{ name, keyId: id, signature }] }),
      witness.value,
    ).ok,
  );
  time.writeBigUInt64BE(1_800_000_001n);
  assert.ok(
    !openCheckpoint(
      formatNote({
        text,
        signatures: [{ name, keyId: id, signature: Buffer.concat([time, signature.subarray(8)]) }],
      }),
      witness.value,
    ).ok,
  );
});

/**
 * HPACK's Huffman code (RFC 7541 appendix B) is canonical, so the number of symbols of each length
 * tells where a symbol ends. Index: length in bits.
 */
const symbolsOfLength: readonly number[] = [
  ...[0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3],
  ...[0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4],
];
const firstCodes: readonly number[] = symbolsOfLength.reduce<number[]>((codes, _count, length) => {
  const before = length === 0 ? 0 : (codes[length - 1] as number);
  return [...codes, length === 0 ? 0 : (before + (symbolsOfLength[length - 1] as number)) * 2];
}, []);

/** Symbols of six bits. */
const blank = 0b010100;
const slash = 0b011000;
const dot = 0b010111;

/** Replaces each slash and blank by a dot, which has the same length. */
export function dotSlashes(encoded: Buffer): void {
  eachSymbol(encoded, ({ code, length, position }) => {
    if (length === 6 && (code === slash || code === blank)) setDot(encoded, position - 5);
  });
}

/** Letters, digits and what else is common: no slash, no blank, and no symbol of more bits. */
export function isPlain(encoded: Buffer): boolean {
  let plain = true;
  eachSymbol(encoded, ({ code, length }) => {
    if (length > 8 || (length === 6 && (code === slash || code === blank))) plain = false;
  });
  return plain;
}

interface HuffmanSymbol {
  readonly code: number;
  readonly length: number;
  /** Of its last bit. */
  readonly position: number;
}

function eachSymbol(encoded: Buffer, onSymbol: (symbol: HuffmanSymbol) => void): void {
  let code = 0;
  let length = 0;
  for (let position = 0; position < encoded.length * 8; position += 1) {
    code = code * 2 + bitAt(encoded, position);
    length += 1;
    // no symbol is longer, so this is no Huffman code, and the decoder will refuse it
    if (length >= symbolsOfLength.length) return;
    const index = code - (firstCodes[length] as number);
    if (index < 0 || index >= (symbolsOfLength[length] as number)) continue;
    onSymbol({ code, length, position });
    code = 0;
    length = 0;
  }
}

const bitAt = (bytes: Buffer, position: number): number =>
  ((bytes[position >> 3] as number) >> (7 - (position & 7))) & 1;

function setDot(bytes: Buffer, start: number): void {
  for (let bit = 0; bit < 6; bit += 1) {
    const position = start + bit;
    const mask = 0x80 >> (position & 7);
    const byte = bytes[position >> 3] as number;
    bytes[position >> 3] = ((dot >> (5 - bit)) & 1) === 1 ? byte | mask : byte & ~mask;
  }
}

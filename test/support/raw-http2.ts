/** HTTP/2 by hand, for what no client library would send. */

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const frameTypes = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  goAway: 7,
  continuation: 9,
};

export function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

/** RFC 7541 appendix B, as far as the tests need it. */
const codes: Readonly<Record<string, string>> = {
  ...{ '1': '00001', a: '00011', c: '00100', e: '00101', i: '00110', o: '00111', s: '01000' },
  ...{ t: '01001', ' ': '010100', '-': '010110', '.': '010111', '/': '011000', d: '100100' },
  ...{ h: '100111', l: '101000', m: '101001', n: '101010', p: '101011', r: '101100' },
  ...{ u: '101101', ':': '1011100', k: '1110101', y: '1111010' },
};

export function huffman(text: string): Buffer {
  const bits = text
    .split('')
    .map((each) => codes[each] ?? assertUnknown(each))
    .join('');
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  return Buffer.from(padded.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? []);
}

function assertUnknown(character: string): never {
  throw new Error(`the tests know no Huffman code of ${character}`);
}

/** A string as HPACK has it; shorter than 127 bytes. */
export function text(value: string, coding: 'raw' | 'huffman' = 'raw'): Buffer {
  const bytes = coding === 'raw' ? Buffer.from(value) : huffman(value);
  return Buffer.concat([Buffer.from([(coding === 'raw' ? 0 : 0x80) | bytes.length]), bytes]);
}

/** A literal field with a new name, not indexed. */
export const field = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0]), text(name), text(value)]);

/** All ways to write `:authority` as a literal: how it is indexed, named, and coded. */
export function authorityForms(value: string): Readonly<Record<string, Buffer>> {
  const forms: Record<string, Buffer> = {};
  const firsts = { 'to be indexed': 0x40, 'not indexed': 0x00, 'never indexed': 0x10 };
  for (const coding of ['raw', 'huffman'] as const)
    for (const [how, first] of Object.entries(firsts)) {
      const encoded = text(value, coding);
      forms[`${coding}, ${how}, named by the static table`] = Buffer.concat([
        Buffer.from([first | 1]),
        encoded,
      ]);
      for (const naming of ['raw', 'huffman'] as const)
        forms[`${coding}, ${how}, named ${naming}`] = Buffer.concat([
          Buffer.from([first]),
          text(':authority', naming),
          encoded,
        ]);
    }
  return forms;
}

/** Reads frames out of what a peer sends. */
export class FrameReader {
  readonly frames: {
    readonly type: number;
    readonly flags: number;
    readonly streamId: number;
    readonly payload: Buffer;
  }[] = [];
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9 && this.#rest.length >= 9 + this.#rest.readUIntBE(0, 3)) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      this.frames.push({
        type: this.#rest[3] as number,
        flags: this.#rest[4] as number,
        streamId: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(9, end),
      });
      this.#rest = this.#rest.subarray(end);
    }
  }

  has(type: number, streamId: number): boolean {
    return this.frames.some((each) => each.type === type && each.streamId === streamId);
  }
}

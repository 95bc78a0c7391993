const frameHeaderBytes = 9;
const rstStreamFrame = 3;
const goAwayFrame = 7;
const names: Readonly<Record<number, string>> = {
  1: 'PROTOCOL_ERROR',
  3: 'FLOW_CONTROL_ERROR',
  6: 'FRAME_SIZE_ERROR',
  9: 'COMPRESSION_ERROR',
  11: 'ENHANCE_YOUR_CALM',
};

/**
 * The offset of the HTTP/2 error code in a frame, counted from its header (RFC 9113 sections 6.4,
 * 6.8).
 */
const codeOffsets: Readonly<Record<number, number>> = {
  [rstStreamFrame]: frameHeaderBytes,
  [goAwayFrame]: frameHeaderBytes + 4,
};
const longestNeeded = frameHeaderBytes + 8;

/**
 * Finds in the bytes to a client what the HTTP/2 layer refused before any handler: a reset stream
 * or connection, with an error code that our handlers never give.
 */
export class RefusedFrames {
  readonly #onRefused: (what: 'stream' | 'connection', code: string) => void;
  #begun: Buffer = Buffer.alloc(0);
  #skipBytes = 0;

  constructor(onRefused: (what: 'stream' | 'connection', code: string) => void) {
    this.#onRefused = onRefused;
  }

  watch(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, chunk.length - at);
        this.#skipBytes -= skipped;
        at += skipped;
        continue;
      }
      const missing = this.#missing();
      const part = chunk.subarray(at, at + missing);
      this.#begun = this.#begun.length === 0 ? part : Buffer.concat([this.#begun, part]);
      at += part.length;
      if (this.#missing() === 0) this.#finish();
    }
  }

  /** How many more bytes are needed to judge the current frame. */
  #missing(): number {
    const begun = this.#begun.length;
    if (begun < frameHeaderBytes) return frameHeaderBytes - begun;
    const type = this.#begun[3] as number;
    return codeOffsets[type] === undefined ? 0 : Math.max(0, this.#needed() - begun);
  }

  #needed(): number {
    return Math.min(longestNeeded, frameHeaderBytes + this.#begun.readUIntBE(0, 3));
  }

  #finish(): void {
    const frame = this.#begun;
    this.#begun = Buffer.alloc(0);
    this.#skipBytes = frameHeaderBytes + frame.readUIntBE(0, 3) - frame.length;
    const type = frame[3] as number;
    const offset = codeOffsets[type];
    if (offset === undefined || frame.length < offset + 4) return;
    const name = names[frame.readUInt32BE(offset)];
    if (name !== undefined) this.#onRefused(type === goAwayFrame ? 'connection' : 'stream', name);
  }
}

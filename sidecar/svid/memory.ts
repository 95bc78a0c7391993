/**
 * Copies bytes that are kept for long. The wire decoder gives views into whole messages, and one
 * view would keep 500 certificates in memory. One allocation holds all parts.
 */
export function compact(...parts: readonly Buffer[]): readonly Buffer[] {
  const whole = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  return parts.map((part) => {
    part.copy(whole, at);
    at += part.length;
    return whole.subarray(at - part.length, at);
  });
}

const maximumInterned = 256;

/** Keeps one copy of what many SVIDs share: intermediates and authority IDs. */
export class Interner {
  readonly #buffers = new Map<string, Buffer>();
  readonly #texts = new Map<string, string>();

  intern(bytes: Buffer): Buffer {
    const key = bytes.toString('latin1');
    const known = this.#buffers.get(key);
    if (known !== undefined) return known;
    if (this.#buffers.size >= maximumInterned) this.#buffers.clear();
    const [own] = compact(bytes);
    this.#buffers.set(key, own as Buffer);
    return own as Buffer;
  }

  text(value: string): string {
    const known = this.#texts.get(value);
    if (known !== undefined) return known;
    if (this.#texts.size >= maximumInterned) this.#texts.clear();
    this.#texts.set(value, value);
    return value;
  }
}

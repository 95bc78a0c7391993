import type { Duplex } from 'node:stream';
import { ProbeFailure } from './failure.ts';

/** Above what any first flight needs: four chains of the greatest size. */
export const maximumBytes = 262_144;

const nothing = Buffer.alloc(0);

/**
 * Reads from one socket in portions of a wanted length, and takes at most `maximumBytes` from it in
 * all. Owner of the socket's input. Reads throw ProbeFailure.
 */
export class ByteStream {
  readonly #socket: Duplex;
  #held: Buffer = nothing;
  #received = 0;
  #ended: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.once('end', () => this.#end(new ProbeFailure('the server closed the connection')));
    socket.on('error', (error) => this.#end(asFailure(error)));
    socket.once('close', () => this.#end(new ProbeFailure('the connection was closed')));
  }

  /** Bytes that came, and were not read. */
  get pending(): number {
    return this.#held.length;
  }

  /** Bytes for a connection that ended go nowhere; who waits for an answer is told by `read`. */
  write(bytes: Buffer): void {
    if (this.#ended === undefined) this.#socket.write(bytes);
  }

  async read(length: number): Promise<Buffer> {
    while (this.#held.length < length) await this.#more();
    const bytes = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return bytes;
  }

  /** One line without its end, as SMTP has them (RFC 5321 section 2.3.8). */
  async line(maximum: number): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf(0x0a);
      if (end > maximum || (end < 0 && this.#held.length > maximum))
        throw new ProbeFailure(`the server sent a line of more than ${maximum} bytes`);
      if (end >= 0) return (await this.read(end + 1)).toString('latin1').trimEnd();
      await this.#more();
    }
  }

  #more(): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        this.#wake = undefined;
        if (this.#ended === undefined) resolve();
        else reject(this.#ended);
      };
    });
  }

  #take(chunk: Buffer): void {
    this.#received += chunk.length;
    if (this.#received > maximumBytes) {
      this.#end(new ProbeFailure(`the server sent more than ${maximumBytes} bytes`));
      this.#socket.destroy();
      return;
    }
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#wake?.();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#wake?.();
  }
}

/** An error of several addresses has no message of its own. */
function asFailure(error: Error): ProbeFailure {
  if (error instanceof ProbeFailure) return error;
  const { code } = error as NodeJS.ErrnoException;
  return new ProbeFailure(error.message || (code ?? 'the connection failed'), { cause: error });
}

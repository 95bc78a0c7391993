import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { addressOf } from '../local-address.ts';

/** An error that Redis answers, such as `ERR …` or `NOAUTH …`. */
export class RedisError extends Error {}

export type RedisReply = string | readonly RedisReply[] | undefined;

const maximumAnswer = 64 * 1024;

/** One connection to Redis (RESP 2): commands in order, each with its answer. */
export class RedisConnection {
  readonly #socket: Socket;
  readonly #abort: () => void;
  readonly #signal: AbortSignal;
  #received = Buffer.alloc(0);
  #failure: Error | undefined;

  private constructor(socket: Socket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    this.#abort = () => socket.destroy(new Error('aborted'));
    signal.addEventListener('abort', this.#abort, { once: true });
    socket.on('data', (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      if (this.#received.length > maximumAnswer)
        socket.destroy(new Error('the answer is too long'));
    });
    socket.on('error', (error) => (this.#failure = error));
  }

  static async open(address: string, signal: AbortSignal): Promise<RedisConnection> {
    const socket = connect(addressOf(address));
    const connection = new RedisConnection(socket, signal);
    try {
      await once(socket, 'connect');
    } catch (thrown) {
      connection[Symbol.dispose]();
      throw thrown;
    }
    return connection;
  }

  /** Sends a command. Throws the RedisError that Redis answers. */
  async call(...words: readonly string[]): Promise<RedisReply> {
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    this.#socket.write(`*${words.length}\r\n${parts.join('')}`);
    for (;;) {
      const parsed = parseReply(this.#received, 0);
      if (parsed !== undefined) {
        this.#received = this.#received.subarray(parsed.end);
        if (parsed.value instanceof RedisError) throw parsed.value;
        return parsed.value;
      }
      if (this.#socket.closed || this.#socket.destroyed)
        throw this.#failure ?? new PkiError('DRIVER_FAILED', 'Redis closed the connection');
      await Promise.race([once(this.#socket, 'data'), once(this.#socket, 'close')]);
    }
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#socket.destroy();
  }
}

interface Parsed {
  readonly value: RedisReply | RedisError;
  readonly end: number;
}

/** One reply from an offset on; undefined while it is not whole. */
export function parseReply(bytes: Buffer, start: number): Parsed | undefined {
  const lineEnd = bytes.indexOf('\r\n', start);
  if (lineEnd < 0) return undefined;
  const line = bytes.toString('utf8', start + 1, lineEnd);
  const end = lineEnd + 2;
  switch (String.fromCharCode(bytes[start] as number)) {
    case '+':
    case ':':
      return { value: line, end };
    case '-':
      return { value: new RedisError(line), end };
    case '$': {
      const length = Number(line);
      if (length < 0) return { value: undefined, end };
      if (bytes.length < end + length + 2) return undefined;
      return { value: bytes.toString('utf8', end, end + length), end: end + length + 2 };
    }
    case '*':
      return parseArray(bytes, Number(line), end);
    default:
      throw new PkiError(
        'DRIVER_FAILED',
        'what listens there does not speak the protocol of Redis',
      );
  }
}

function parseArray(bytes: Buffer, count: number, start: number): Parsed | undefined {
  const values: RedisReply[] = [];
  let end = start;
  for (let index = 0; index < count; index += 1) {
    const parsed = parseReply(bytes, end);
    if (parsed === undefined) return undefined;
    if (parsed.value instanceof RedisError) return parsed;
    values.push(parsed.value);
    ({ end } = parsed);
  }
  return { value: values, end };
}

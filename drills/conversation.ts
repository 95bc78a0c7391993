import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { ProvenListener } from '../sidecar/probe/index.ts';

/** What is spoken with a server once TLS is there. */
export type Language = 'http' | 'postgresql' | 'redis';

export interface Served {
  readonly name: string;
  readonly listener: ProvenListener;
  readonly language: Language;
  /** For Redis. */
  readonly password: string;
  /** The SPIFFE ID that its certificate has to have. */
  readonly spiffeId: string;
}

/** The server closed while nobody asked it anything. */
export class ClosedBetween extends Error {
  override readonly name = 'ClosedBetween';
}

interface Question {
  readonly bytes: Buffer;
  /** How many bytes of the answer are a whole one. Undefined: more are needed. */
  readonly end: (came: Buffer) => number | undefined;
}

/** One TLS connection to a server, on which it is asked one thing after another. */
export class Conversation {
  readonly #socket: TLSSocket;
  readonly #language: Language;
  #came = Buffer.alloc(0);
  #ended: Error | undefined;
  #wake: () => void = () => {};

  private constructor(socket: TLSSocket, language: Language) {
    this.#socket = socket;
    this.#language = language;
    socket.on('data', (bytes: Buffer) => {
      this.#came = Buffer.concat([this.#came, bytes]);
      this.#wake();
    });
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the server closed the connection')));
  }

  /** Verifies the server as a client of the mesh does: its chain, and its exact SPIFFE ID. */
  static async open(served: Served, material: SecureContextOptions): Promise<Conversation> {
    const { listener, language, spiffeId } = served;
    const [host = '', port = ''] = listener.address.split(/:(?=\d+$)/);
    const plain = connectTcp({ host, port: Number(port), noDelay: true });
    try {
      await established(plain);
      if (language === 'postgresql') await askForTls(plain);
      const socket = connect({
        ...material,
        socket: plain,
        ...(listener.serverName === undefined ? {} : { servername: listener.serverName }),
        ALPNProtocols: language === 'http' ? ['http/1.1'] : [],
        checkServerIdentity: (_host, { subjectaltname }) =>
          subjectaltname?.split(', ').includes(`URI:${spiffeId}`)
            ? undefined
            : new Error(`the server is ${subjectaltname}`),
      });
      await secured(socket, plain);
      const conversation = new Conversation(socket, language);
      await conversation.#introduce(served);
      return conversation;
    } catch (thrown) {
      plain.destroy();
      throw thrown;
    }
  }

  get serial(): string {
    return this.#socket.getPeerCertificate().serialNumber.toLowerCase();
  }

  /** Throws ClosedBetween where the server closed before it had any of the question. */
  async ask(): Promise<void> {
    if (this.#ended !== undefined) throw new ClosedBetween(this.#ended.message);
    await this.#exchange(questions[this.#language]);
  }

  close(): void {
    this.#socket.destroy();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#wake();
  }

  async #introduce({ language, password }: Served): Promise<void> {
    if (language === 'postgresql') await this.#exchange(startup);
    if (language === 'redis' && password !== '') await this.#exchange(authentication(password));
  }

  async #exchange({ bytes, end }: Question): Promise<void> {
    this.#came = Buffer.alloc(0);
    this.#socket.write(bytes);
    for (;;) {
      const length = end(this.#came);
      if (length !== undefined) return;
      if (this.#ended !== undefined) {
        // the question met a connection that the server was closing
        if (this.#came.length === 0) throw new ClosedBetween(this.#ended.message);
        throw this.#ended;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

async function established(socket: Socket): Promise<void> {
  const failed = new Promise<never>((_resolve, reject) => socket.on('error', reject));
  failed.catch(() => undefined);
  await Promise.race([once(socket, 'connect'), failed]);
}

function secured(socket: TLSSocket, plain: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => resolve());
    socket.on('error', reject);
    plain.on('error', reject);
    socket.once('close', () => reject(new Error('the server closed within the handshake')));
  });
}

async function askForTls(socket: Socket): Promise<void> {
  socket.write(Buffer.from('0000000804d2162f', 'hex'));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (answer.toString('latin1') !== 'S') throw new Error('PostgreSQL takes no TLS');
}

const httpEnd = (came: Buffer): number | undefined => {
  const head = came.indexOf('\r\n\r\n');
  if (head < 0) return undefined;
  const text = came.toString('latin1', 0, head);
  if (!text.startsWith('HTTP/1.1 200')) throw new Error(text.split('\r\n')[0]);
  const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? 0);
  return came.length >= head + 4 + length ? head + 4 + length : undefined;
};

/** Up to ReadyForQuery. An ErrorResponse throws. */
const postgresEnd = (came: Buffer): number | undefined => {
  for (let at = 0; at + 5 <= came.length; ) {
    const [type, length] = [came[at], came.readUInt32BE(at + 1) + 1];
    if (type === 0x45) throw new Error(came.toString('latin1', at + 5, at + length));
    if (type === 0x5a && at + length <= came.length) return at + length;
    at += length;
  }
  return undefined;
};

const redisEnd = (came: Buffer): number | undefined => {
  const end = came.indexOf('\r\n');
  if (end < 0) return undefined;
  if (came[0] !== 0x2b) throw new Error(came.toString('latin1', 0, end));
  return end + 2;
};

const sized = (prefix: Buffer, body: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([prefix, length, body]);
};

const questions: Readonly<Record<Language, Question>> = {
  http: { bytes: Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'), end: httpEnd },
  postgresql: { bytes: sized(Buffer.from('Q'), Buffer.from('SELECT 1\0')), end: postgresEnd },
  redis: { bytes: Buffer.from('PING\r\n'), end: redisEnd },
};

const startup: Question = {
  bytes: sized(
    Buffer.alloc(0),
    Buffer.concat([
      Buffer.from('00030000', 'hex'),
      Buffer.from('user\0postgres\0database\0postgres\0\0'),
    ]),
  ),
  end: postgresEnd,
};

const authentication = (password: string): Question => ({
  bytes: Buffer.from(
    `*2\r\n$4\r\nAUTH\r\n$${Buffer.byteLength(password)}\r\n${password}\r\n`,
    'utf8',
  ),
  end: redisEnd,
});

import { createSocket, type Socket } from 'node:dgram';
import { createServer, type AddressInfo, type Server } from 'node:net';

export type DnsType = 'A' | 'NS' | 'CNAME' | 'TXT' | 'AAAA' | 'CAA';
type DnsAnswer = readonly Buffer[] | 'SERVFAIL' | 'REFUSED' | 'SILENT';
/** `NAME TYPE` → the data of its records, or the name of a failure; of each ask where a function. */
export type DnsZone = Map<string, DnsAnswer | (() => DnsAnswer)>;

const numbers: Readonly<Record<number, DnsType>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  16: 'TXT',
  28: 'AAAA',
  257: 'CAA',
};

/** A name server over UDP and TCP that says what a test wants, mistakes included. */
export class DnsServer {
  readonly zone: DnsZone = new Map();
  readonly #socket: Socket;
  readonly #tcp: Server;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#tcp = createServer((connection) => {
      connection.on('error', () => {});
      connection.once('data', (query) => {
        const answer = this.#answer(query.subarray(2));
        if (answer === undefined) return;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        connection.end(Buffer.concat([length, answer]));
      });
    });
    socket.on('message', (query, { port, address }) => {
      const answer = this.#answer(query);
      if (answer !== undefined) socket.send(answer, port, address);
    });
  }

  static async open(): Promise<DnsServer> {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    const server = new DnsServer(socket);
    await new Promise<void>((resolve, reject) => {
      server.#tcp.once('error', reject);
      server.#tcp.listen(socket.address().port, '127.0.0.1', resolve);
    });
    return server;
  }

  get endpoint(): string {
    return `127.0.0.1:${(this.#socket.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#socket.close();
    this.#tcp.close();
  }

  #answer(query: Buffer): Buffer | undefined {
    let at = 12;
    const labels: string[] = [];
    for (let length = query[at] as number; length > 0; length = query[at] as number) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length).toLowerCase());
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const question = query.subarray(12, at + 5);
    const name = labels.join('.');
    const alias = this.zone.get(`${name} CNAME`);
    const entry = this.zone.get(`${name} ${numbers[type] ?? String(type)}`) ?? [];
    const found = typeof entry === 'function' ? entry() : entry;
    if (found === 'SILENT') return undefined;
    const records = typeof found === 'string' ? [] : found;
    const code = found === 'SERVFAIL' ? 2 : found === 'REFUSED' ? 5 : 0;
    const answers =
      records.length === 0 && Array.isArray(alias)
        ? [record(5, (alias as readonly Buffer[])[0] as Buffer)]
        : records.map((data) => record(type, data));
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8580 | code, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    return Buffer.concat([header, question, ...answers]);
  }
}

/** An answer whose name is that of the question. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(0, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

export const dnsName = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
    Buffer.alloc(1),
  ]);
export const dnsText = (...strings: readonly string[]): Buffer =>
  Buffer.concat(strings.map((text) => Buffer.from([text.length, ...Buffer.from(text)])));
export const dnsIpv4 = (address: string): Buffer => Buffer.from(address.split('.').map(Number));
export const dnsCaa = (tag: string, value: string, flags = 0): Buffer =>
  Buffer.concat([Buffer.from([flags, tag.length]), Buffer.from(tag + value)]);

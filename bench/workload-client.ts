import { connect, type Socket } from 'node:net';

/**
 * A minimal client of the agent's socket: one connection and one FetchX509SVID, or one StreamSecrets
 * for the default certificate, encoded once and written at once. So it measures the server; a client library would add its own start to each
 * connection.
 */
const text = (value: string): Buffer =>
  Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')]);
const literal = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0]), text(name), text(value)]);
const frameOf = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
// SETTINGS_HEADER_TABLE_SIZE 0, SETTINGS_INITIAL_WINDOW_SIZE 2^31-1; then the connection's window
const settings = Buffer.from([0, 1, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
const requestOf = (path: string, more: Buffer, data: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frameOf(4, 0, 0, settings),
    frameOf(8, 0, 0, Buffer.from([0x3f, 0xff, 0xff, 0xff])),
    frameOf(
      1,
      4,
      1,
      Buffer.concat([
        // :method POST and :scheme http by index, the rest as literals
        Buffer.from([0x83, 0x86, 0x04]),
        text(path),
        Buffer.from([0x01]),
        text('localhost'),
        literal('content-type', 'application/grpc'),
        literal('te', 'trailers'),
        more,
      ]),
    ),
    data,
  ]);
/** Field 3, resource_names, of a DiscoveryRequest. */
const wanted = Buffer.concat([Buffer.from([0x1a]), text('default')]);
const requests = {
  workload: requestOf(
    '/SpiffeWorkloadAPI/FetchX509SVID',
    literal('workload.spiffe.io', 'true'),
    frameOf(0, 1, 1, Buffer.alloc(5)),
  ),
  sds: requestOf(
    '/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets',
    Buffer.alloc(0),
    frameOf(0, 0, 1, Buffer.concat([Buffer.from([0, 0, 0, 0, wanted.length]), wanted])),
  ),
};
export type SocketApiName = keyof typeof requests;

export class WorkloadStream implements Disposable {
  readonly #socket: Socket;
  readonly #onMessage: (message: Buffer) => void;
  #frames: Buffer = Buffer.alloc(0);
  #body: Buffer = Buffer.alloc(0);

  /** `onEnd` when the stream ends from the other side. */
  constructor(
    path: string,
    onMessage: (message: Buffer) => void,
    onEnd: (reason: Error) => void,
    api: SocketApiName = 'workload',
  ) {
    this.#onMessage = onMessage;
    this.#socket = connect(path);
    this.#socket.on('error', onEnd);
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk, onEnd));
    this.#socket.write(requests[api]);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer, onEnd: (reason: Error) => void): void {
    const bytes = this.#frames.length === 0 ? chunk : Buffer.concat([this.#frames, chunk]);
    let at = 0;
    while (bytes.length - at >= 9) {
      const length = bytes.readUIntBE(at, 3);
      if (bytes.length - at < 9 + length) break;
      const type = bytes[at + 3];
      const flags = bytes[at + 4] as number;
      const payload = bytes.subarray(at + 9, at + 9 + length);
      at += 9 + length;
      if (type === 0) this.#take(payload);
      else if (type === 4 && (flags & 1) === 0)
        this.#socket.write(frameOf(4, 1, 0, Buffer.alloc(0)));
      // the agent pings to learn whether its message was read
      else if (type === 6 && (flags & 1) === 0) this.#socket.write(frameOf(6, 1, 0, payload));
      else if (type === 3 || type === 7 || (type === 1 && (flags & 1) !== 0))
        onEnd(
          new Error(
            `the stream was ended (frame ${type}): ${payload
              .toString('latin1')
              .replace(/[^ -~]/g, '.')
              .slice(0, 300)}`,
          ),
        );
    }
    this.#frames = bytes.subarray(at);
  }

  #take(payload: Buffer): void {
    let body = this.#body.length === 0 ? payload : Buffer.concat([this.#body, payload]);
    while (body.length >= 5 && body.length >= 5 + body.readUInt32BE(1)) {
      const end = 5 + body.readUInt32BE(1);
      this.#onMessage(body.subarray(5, end));
      body = body.subarray(end);
    }
    this.#body = body;
  }
}

/** The number of X509SVIDs (field 1) in an X509SVIDResponse. */
export function countSvids(message: Buffer): number {
  let count = 0;
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const octet = message[at++] as number;
      value += (octet & 0x7f) * 2 ** shift;
      if (octet < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const length = varint();
    if (tag >> 3 === 1) count += 1;
    at += length;
  }
  return count;
}

/** Milliseconds from the start of a connection to its first message. */
export function firstMessage(path: string, api: SocketApiName = 'workload'): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now();
    const stream = new WorkloadStream(
      path,
      () => {
        const elapsedMs = performance.now() - startedMs;
        stream[Symbol.dispose]();
        resolve(elapsedMs);
      },
      reject,
      api,
    );
  });
}

/** Resolves when the agent gives this process an identity, since a new entry takes a moment. */
export async function untilServed(path: string): Promise<void> {
  const untilMs = performance.now() + 20_000;
  for (;;) {
    try {
      await firstMessage(path);
      return;
    } catch (thrown) {
      if (performance.now() > untilMs) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const callsPerSecond = 450;
let paidUntilMs = 0;

/** Waits until this many calls are within the rate. The first 1500 are within the burst. */
async function place(calls: number): Promise<void> {
  const nowMs = performance.now();
  paidUntilMs =
    Math.max(paidUntilMs, nowMs - (1500 / callsPerSecond) * 1000) + (calls / callsPerSecond) * 1000;
  if (paidUntilMs > nowMs) await new Promise((resolve) => setTimeout(resolve, paidUntilMs - nowMs));
}

/**
 * Run as a child: `{ path, count, api }` is answered by the latencies of so many connections, one
 * after another.
 */
if (process.argv[2] === '--workload-child') {
  interface Asked {
    readonly path: string;
    readonly count: number;
    readonly api?: SocketApiName;
  }
  process.on('message', ({ path, count, api }: Asked) => {
    void (async () => {
      const latencies: number[] = [];
      for (let index = 0; index < count; index++) {
        // in runs without a pause between, and on average below what an agent lets one user do
        if (index % 200 === 0) await place(200);
        latencies.push(await firstMessage(path, api));
      }
      process.send?.(latencies);
    })().catch((thrown: unknown) => {
      process.stderr.write(`workload: ${String(thrown)}\n`);
      process.exit(1);
    });
  });
  process.on('disconnect', () => process.exit(0));
}

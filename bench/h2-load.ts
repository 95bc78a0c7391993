import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';

/**
 * A load generator for unary gRPC that does as little as possible. The request is encoded once and
 * sent repeatedly with only the number of the stream changed; of an answer it reads only lengths
 * and flags. A call costs it about 20 µs with TLS, where a client library takes hundreds. (Of the
 * native generators, h2load has no client certificates.)
 *
 * Run as a child with an IPC channel: send `LoadPlan` first, answered by 'ready', then `LoadTurn`
 * any number of times, each answered by a `LoadResult`.
 */
export interface LoadPlan {
  readonly host: string;
  readonly port: number;
  readonly rootsPem: string;
  readonly chainPem: string;
  readonly keyPem: string;
  /** `/package.Service/Method`. */
  readonly path: string;
  /** The encoded message. */
  readonly message: Uint8Array;
  /** Calls in flight, over all connections. */
  readonly inFlight: number;
  readonly connections: number;
}

export interface LoadTurn {
  readonly seconds: number;
  /** Calls that begin in a second, at random times. Absent: each call begins as another one ends. */
  readonly perSecond?: number;
}

export interface LoadResult {
  readonly completed: number;
  /** Answers without a message: refusals. */
  readonly failed: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Share of one core that the generator used. Near 1 the generator itself was the limit. */
  readonly cpuShare: number;
  readonly answerBytes: number;
}

const frame = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
} as const;
const endStream = 1;
const endHeaders = 4;
const ack = 1;
const largestFrame = 16_384;

function frameOf(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, 9);
  return bytes;
}

/**
 * HPACK (RFC 7541) without compression: literals without indexing, names from the static table
 * where it has them.
 */
function headerBlock(path: string, authority: string): Buffer {
  const text = (value: string): Buffer =>
    Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')]);
  return Buffer.concat([
    Buffer.from([0x83, 0x87]),
    Buffer.from([0x04]),
    text(path),
    Buffer.from([0x01]),
    text(authority),
    Buffer.from([0x0f, 0x10]),
    text('application/grpc'),
    Buffer.from([0x00]),
    text('te'),
    text('trailers'),
  ]);
}

interface Tally {
  finished(latencyMs: number, answered: boolean, bytes: number): void;
}

interface Open {
  readonly stream: number;
  readonly startedMs: number;
  sent: number;
  window: number;
  received: number;
}

/** One connection. `begin` sends a call, and the tally counts its end. */
class LoadConnection {
  readonly #socket: TLSSocket;
  readonly #tally: Tally;
  readonly #head: Buffer;
  readonly #body: Buffer;
  readonly #open = new Map<number, Open>();
  #sending: Open[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #nextStream = 1;
  #window = 65_535;
  #initialWindow = 65_535;
  #consumed = 0;

  constructor(socket: TLSSocket, plan: LoadPlan, tally: Tally) {
    this.#socket = socket;
    this.#tally = tally;
    this.#head = frameOf(frame.headers, endHeaders, 0, headerBlock(plan.path, 'localhost'));
    const body = Buffer.allocUnsafe(5 + plan.message.length);
    body[0] = 0;
    body.writeUInt32BE(plan.message.length, 1);
    body.set(plan.message, 5);
    this.#body = body;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    const setting = (id: number, value: number): Buffer => {
      const bytes = Buffer.alloc(6);
      bytes.writeUInt16BE(id, 0);
      bytes.writeUInt32BE(value, 2);
      return bytes;
    };
    // no dynamic table, no push, and windows so large that answers need no update
    const settings = Buffer.concat([setting(1, 0), setting(2, 0), setting(4, 0x7fff_ffff)]);
    socket.write(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        frameOf(frame.settings, 0, 0, settings),
        this.#windowUpdate(0x3fff_ffff),
      ]),
    );
  }

  get open(): number {
    return this.#open.size;
  }

  /** `startedMs`: when the call should have begun, if it had to wait for its turn. */
  begin(startedMs = performance.now()): void {
    const call: Open = {
      stream: this.#nextStream,
      startedMs,
      sent: 0,
      window: this.#initialWindow,
      received: 0,
    };
    this.#nextStream += 2;
    this.#open.set(call.stream, call);
    const head = Buffer.from(this.#head);
    head.writeUInt32BE(call.stream, 5);
    this.#socket.write(head);
    this.#sending.push(call);
    this.#send();
  }

  #send(): void {
    for (let next = this.#sending[0]; next !== undefined; next = this.#sending[0]) {
      const size = Math.min(this.#body.length - next.sent, largestFrame, this.#window, next.window);
      if (size <= 0) return;
      const last = next.sent + size === this.#body.length;
      this.#socket.write(
        frameOf(
          frame.data,
          last ? endStream : 0,
          next.stream,
          this.#body.subarray(next.sent, next.sent + size),
        ),
      );
      next.sent += size;
      next.window -= size;
      this.#window -= size;
      if (last) this.#sending.shift();
    }
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    this.#socket.cork();
    while (bytes.length - at >= 9) {
      const length = bytes.readUIntBE(at, 3);
      if (bytes.length - at < 9 + length) break;
      this.#take(
        bytes[at + 3] as number,
        bytes[at + 4] as number,
        bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
        bytes.subarray(at + 9, at + 9 + length),
      );
      at += 9 + length;
    }
    this.#rest = bytes.subarray(at);
    this.#socket.uncork();
  }

  #take(type: number, flags: number, stream: number, payload: Buffer): void {
    const call = this.#open.get(stream);
    switch (type) {
      case frame.data:
        if (call !== undefined) call.received += payload.length;
        this.#consumed += payload.length;
        if (this.#consumed > 0x0fff_ffff) {
          this.#socket.write(this.#windowUpdate(this.#consumed));
          this.#consumed = 0;
        }
        break;
      case frame.settings:
        if ((flags & ack) !== 0) return;
        for (let at = 0; at + 6 <= payload.length; at += 6)
          if (payload.readUInt16BE(at) === 4) this.#raiseWindows(payload.readUInt32BE(at + 2));
        this.#socket.write(frameOf(frame.settings, ack, 0, Buffer.alloc(0)));
        return;
      case frame.ping:
        if ((flags & ack) === 0) this.#socket.write(frameOf(frame.ping, ack, 0, payload));
        return;
      case frame.windowUpdate:
        if (stream === 0) this.#window += payload.readUInt32BE(0);
        else if (call !== undefined) call.window += payload.readUInt32BE(0);
        this.#send();
        return;
      case frame.goAway:
        throw new Error('the server ended the connection');
      default:
    }
    if (call === undefined) return;
    if (
      type === frame.reset ||
      ((flags & endStream) !== 0 && (type === frame.headers || type === frame.data))
    ) {
      this.#open.delete(stream);
      this.#tally.finished(
        performance.now() - call.startedMs,
        type !== frame.reset && call.received > 5,
        call.received,
      );
    }
  }

  #raiseWindows(initial: number): void {
    for (const call of this.#open.values()) call.window += initial - this.#initialWindow;
    this.#initialWindow = initial;
    this.#send();
  }

  #windowUpdate(bytes: number): Buffer {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes, 0);
    return frameOf(frame.windowUpdate, 0, 0, payload);
  }
}

class Load {
  readonly #plan: LoadPlan;
  readonly #connections: LoadConnection[] = [];
  #latencies: number[] = [];
  #completed = 0;
  #failed = 0;
  #answerBytes = 0;
  #running = false;
  #drained: (() => void) | undefined;

  constructor(plan: LoadPlan) {
    this.#plan = plan;
  }

  async connect(): Promise<void> {
    const { host, port, rootsPem: ca, chainPem: cert, keyPem: key } = this.#plan;
    for (let index = 0; index < this.#plan.connections; index++) {
      const connection = await new Promise<LoadConnection>((resolve, reject) => {
        // a server is identified by its SPIFFE ID, not by this name; here it suffices that its
        // chain ends in our root
        const socket = connect(
          { host, port, ca, cert, key, servername: 'localhost', ALPNProtocols: ['h2'] },
          () => {
            socket.setNoDelay(true);
            resolve(new LoadConnection(socket, this.#plan, this.#tallyOf(index)));
          },
        );
        socket.on('error', reject);
      });
      this.#connections.push(connection);
    }
  }

  async run({ seconds, perSecond }: LoadTurn): Promise<LoadResult> {
    this.#latencies = [];
    this.#completed = this.#failed = this.#answerBytes = 0;
    const cpu = process.cpuUsage();
    const startedMs = performance.now();
    if (perSecond !== undefined) await this.#arrive(seconds, perSecond);
    else {
      this.#running = true;
      for (let index = 0; index < this.#plan.inFlight; index++)
        this.#connections[index % this.#connections.length]?.begin();
      await sleep(seconds * 1000);
    }
    // a rate needs at least one call, even on the slowest machine
    while (this.#completed + this.#failed === 0) await sleep(20);
    this.#running = false;
    const { completed, failed } = { completed: this.#completed, failed: this.#failed };
    const elapsedMs = performance.now() - startedMs;
    const { user, system } = process.cpuUsage(cpu);
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    if (this.#busy()) await new Promise<void>((resolve) => (this.#drained = resolve));
    return {
      completed,
      failed,
      seconds: elapsedMs / 1000,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      cpuShare: (user + system) / 1000 / elapsedMs,
      answerBytes: this.#completed === 0 ? 0 : this.#answerBytes / this.#completed,
    };
  }

  /**
   * Calls that do not wait for each other: the times between them are exponential. Only a call
   * beyond `inFlight` waits, and that is a part of its time.
   */
  async #arrive(seconds: number, perSecond: number): Promise<void> {
    const { inFlight, connections } = this.#plan;
    const most = Math.ceil(inFlight / connections);
    const endMs = performance.now() + seconds * 1000;
    let begun = 0;
    for (let dueMs = performance.now(); dueMs < endMs; await sleep(1)) {
      while (dueMs <= performance.now()) {
        const connection = this.#connections[begun % connections];
        if (connection === undefined || connection.open >= most) break;
        connection.begin(dueMs);
        begun += 1;
        dueMs -= (Math.log(1 - Math.random()) / perSecond) * 1000;
      }
    }
  }

  #busy(): boolean {
    return this.#connections.some(({ open }) => open > 0);
  }

  #tallyOf(index: number): Tally {
    return {
      finished: (latencyMs, answered, bytes) => {
        if (answered) this.#completed += 1;
        else this.#failed += 1;
        this.#answerBytes += bytes;
        this.#latencies.push(latencyMs);
        if (this.#running) this.#connections[index]?.begin();
        else if (!this.#busy()) this.#drained?.();
      },
    };
  }
}

export const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;

if (process.argv[2] === '--load-child') {
  let load: Load | undefined;
  process.on('message', (message: LoadPlan | LoadTurn) => {
    if ('seconds' in message) {
      void load?.run(message).then((result) => process.send?.(result));
      return;
    }
    load = new Load(message);
    load.connect().then(
      () => process.send?.('ready'),
      (error: Error) => {
        process.stderr.write(`load: ${error.message}\n`);
        process.exit(1);
      },
    );
  });
  process.on('disconnect', () => process.exit(0));
}

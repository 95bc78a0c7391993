import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { frame, frameTypes, FrameReader } from '../support/raw-http2.ts';

/** What the relay makes unreadable: the roots of bundles, or the keys of certificates. */
export type Corruption = 'roots' | 'keys' | 'nothing';

const marks = { roots: '-----BEGIN CERTIFICATE-----\n', keys: '-----BEGIN PRIVATE KEY-----\n' };

/**
 * Stands between a proxy and the socket of an agent, frame by frame, and alters what the agent sends.
 * For the agent the process of the test is the proxy. Owner of its socket and its connections.
 */
export class SdsRelay implements AsyncDisposable {
  corrupts: Corruption = 'nothing';
  /** How many secrets it has altered. */
  altered = 0;
  readonly socketPath: string;
  readonly #folder: string;
  readonly #agentPath: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(folder: string, agentPath: string) {
    this.#folder = folder;
    this.#agentPath = agentPath;
    this.socketPath = join(folder, 's');
    this.#server = createServer((proxy) => this.#relay(proxy)).listen(this.socketPath);
  }

  static async start(agentPath: string): Promise<SdsRelay> {
    const relay = new SdsRelay(await mkdtemp(join(tmpdir(), 'meshca-relay-')), agentPath);
    await once(relay.#server, 'listening');
    return relay;
  }

  /** Ends all connections. The proxy comes back. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
    await rm(this.#folder, { recursive: true, force: true });
  }

  #relay(proxy: Socket): void {
    const agent = connect(this.#agentPath);
    const reader = new FrameReader();
    for (const socket of [proxy, agent]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        proxy.destroy();
        agent.destroy();
      });
    }
    proxy.pipe(agent);
    agent.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      for (const { type, flags, streamId, payload } of reader.frames.splice(0))
        proxy.write(
          frame(type, flags, streamId, type === frameTypes.data ? this.#pass(payload) : payload),
        );
    });
  }

  /** The length stays, so that the message around the secret is whole. */
  #pass(payload: Buffer): Buffer {
    if (this.corrupts === 'nothing') return payload;
    if (this.corrupts === 'roots' && payload.includes(marks.keys)) return payload;
    const mark = marks[this.corrupts];
    const at = payload.indexOf(mark);
    if (at < 0) return payload;
    this.altered += 1;
    const altered = Buffer.from(payload);
    altered.write('!!!!!!!!', at + mark.length, 'latin1');
    return altered;
  }
}

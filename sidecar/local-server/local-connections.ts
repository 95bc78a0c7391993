import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import { KeyedBuckets, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import type { Attestor, Kernel, Peer } from '../attest/index.ts';
import { OpenCounter } from './limits.ts';
import { LocalConnection } from './local-connection.ts';
import type { LocalServerLimits, LocalServerMetrics } from './options.ts';

export interface ConnectionsOptions {
  readonly attestor: Attestor;
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: LocalServerMetrics;
  readonly limits: LocalServerLimits;
  /** Whether any API of the socket may answer calls of this uid. */
  readonly admits: (uid: number) => boolean;
}

const descriptorsPerConnection = 2;
const sweptPerRound = 64;
/**
 * Above this share of the places a uid that already holds some gets no more, so that others find
 * one.
 */
const scarceShare = 0.8;
const fewPerUid = 8;
/** Users who are not admitted can't take more than this share of the places. */
const strangersShare = 0.5;
const fewestPlaces = 16;

/** The open connections of one socket, each with the process behind it. */
export class LocalConnections {
  readonly #options: ConnectionsOptions;
  readonly #open = new Map<string, LocalConnection>();
  readonly #perUid: OpenCounter;
  readonly #perCgroup: OpenCounter;
  readonly #refusalLogs: KeyedBuckets;
  readonly #places: number;
  #counter = 0;
  #swept = 0;

  constructor(options: ConnectionsOptions) {
    const { limits, clock } = options;
    this.#options = options;
    this.#perUid = new OpenCounter(limits.connectionsPerUid);
    this.#perCgroup = new OpenCounter(limits.connectionsPerCgroup);
    this.#refusalLogs = new KeyedBuckets({ perSecond: 0.2, burst: 5 }, clock);
    const free = Math.floor(
      (descriptorLimit() - limits.reservedDescriptors) / descriptorsPerConnection,
    );
    this.#places = Math.max(fewestPlaces, Math.min(limits.connections, free));
  }

  get size(): number {
    return this.#open.size;
  }

  byId(id: string): LocalConnection | undefined {
    return this.#open.get(id);
  }

  /** Takes over an accepted socket, or closes it; `undefined` if it was closed. */
  accept(socket: Socket): LocalConnection | undefined {
    const { attestor, kernel, clock, limits, metrics, admits } = this.#options;
    socket.on('error', () => {});
    const fd = descriptorOf(socket);
    if (fd < 0) {
      socket.destroy();
      return undefined;
    }
    const { uid, pid } = kernel.peerCredentials(fd);
    const admitted = admits(uid);
    if (!this.#hasPlace(uid, admitted)) return this.#refuse(socket, 'total', uid);
    const release = this.#perUid.take(String(uid));
    if (release === undefined) return this.#refuse(socket, 'uid', uid);
    this.#counter += 1;
    const connection = new LocalConnection({
      id: `unix:${this.#counter}`,
      uid,
      pid,
      socket,
      clock,
      ...(admitted
        ? { firstCallMs: limits.firstCallMs, idleMs: limits.idleMs, lifeMs: undefined }
        : { firstCallMs: limits.strangerMs, idleMs: limits.strangerMs, lifeMs: limits.strangerMs }),
      unreadBytes: () => unreadBytes(socket, kernel),
      takeCgroup: (key) => this.#perCgroup.take(key),
      ...attested(attestor, fd),
    });
    this.#open.set(connection.id, connection);
    metrics.connectionOpened();
    socket.once('close', () => {
      this.#open.delete(connection.id);
      release();
      connection.closed();
      metrics.connectionClosed();
    });
    return connection;
  }

  /** Ends the connections whose process has exited, and looks at some for an unseen exec. */
  sweep(): void {
    const { attestor } = this.#options;
    const byPeer = new Map<Peer, LocalConnection>();
    for (const each of this.#open.values())
      if (each.peer !== undefined && each.openCalls > 0) byPeer.set(each.peer, each);
    for (const peer of attestor.exited([...byPeer.keys()])) {
      byPeer.get(peer)?.fail(
        new PkiError('PEER_UNVERIFIABLE', 'the process that connected has exited', {
          detail: { pid: peer.pid },
        }),
      );
      byPeer.delete(peer);
    }
    const rest = [...byPeer];
    for (let each = 0; each < Math.min(sweptPerRound, rest.length); each += 1) {
      this.#swept = (this.#swept + 1) % rest.length;
      const [peer, connection] = rest[this.#swept] as [Peer, LocalConnection];
      try {
        attestor.verify(peer);
      } catch (thrown) {
        connection.fail(PkiError.from(thrown));
      }
    }
  }

  /** Counts and logs what the HTTP/2 layer refuses on this connection. */
  refusals({ uid, pid }: LocalConnection): LocalServerMetrics['http2Refused'] {
    const { metrics, logger } = this.#options;
    return (what, code) => {
      metrics.http2Refused(what, code);
      if (this.#refusalLogs.take(`http2:${uid}`) === 0)
        logger.warn(
          { what, code, uid, pid },
          'a client does not speak HTTP/2 as it must: the HTTP/2 layer refused what it sent',
        );
    };
  }

  failAll(error: PkiError): void {
    for (const each of [...this.#open.values()]) each.endCalls(error);
  }

  destroyAll(): void {
    for (const each of [...this.#open.values()]) each.close();
  }

  #hasPlace(uid: number, admitted: boolean): boolean {
    const open = this.#open.size;
    if (open >= (admitted ? this.#places : this.#places * strangersShare)) return false;
    return open < this.#places * scarceShare || this.#perUid.count(String(uid)) < fewPerUid;
  }

  #refuse(socket: Socket, reason: 'total' | 'uid', uid: number): undefined {
    const { metrics, logger } = this.#options;
    socket.destroy();
    metrics.connectionRefused(reason);
    if (this.#refusalLogs.take(`${reason}:${uid}`) === 0)
      logger.warn(
        { reason, uid, open: this.#open.size },
        'a connection was refused: no place left',
      );
    return undefined;
  }
}

function attested(
  attestor: Attestor,
  fd: number,
): { readonly peer: Peer | undefined; readonly refusal: PkiError | undefined } {
  try {
    return { peer: attestor.connect(fd), refusal: undefined };
  } catch (thrown) {
    return { peer: undefined, refusal: PkiError.from(thrown) };
  }
}

const descriptorOf = (socket: Socket): number =>
  (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd ?? -1;

/** Read from the handle each time: after close the number may belong to another file. */
function unreadBytes(socket: Socket, kernel: Kernel): number | undefined {
  const fd = descriptorOf(socket);
  return fd < 0 ? undefined : kernel.unreadBytes(fd);
}

/** The soft RLIMIT_NOFILE; Node raises it to the hard limit at start. */
function descriptorLimit(): number {
  try {
    const limit = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return limit === undefined ? 1024 : limit === 'unlimited' ? 1 << 20 : Number(limit);
  } catch {
    return 1024;
  }
}

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import { Crowd, KeyedBuckets, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import type { Attestor, Kernel, Peer } from '../attest/index.ts';
import { descriptorOf } from './descriptor.ts';
import { OpenCounter } from './limits.ts';
import { LocalConnection } from './local-connection.ts';
import type { LocalServerLimits, LocalServerMetrics, RefusedConnection } from './options.ts';
import { UnidentifiedCharges } from './unidentified.ts';

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
  /** Without a call under way, by user and control group. */
  readonly #unfinished = new Crowd<LocalConnection>();
  readonly #unidentified: UnidentifiedCharges;
  readonly #perUid: OpenCounter;
  readonly #perCgroup: OpenCounter;
  readonly #refusalLogs: KeyedBuckets;
  readonly #places: number;
  #counter = 0;
  #swept = 0;

  constructor(options: ConnectionsOptions) {
    const { limits, clock } = options;
    this.#options = options;
    this.#unidentified = new UnidentifiedCharges(limits.unidentified, clock);
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
    const { peer, refusal } = attested(attestor, fd);
    const holder = `${uid} ${peer?.image.cgroupKey ?? attestor.cgroupKey(pid)}`;
    const refuse = (reason: RefusedConnection): undefined => {
      peer?.[Symbol.dispose]();
      return this.#refuse(socket, reason, uid);
    };
    if (this.#unidentified.waitMs({ peer, holder }) > 0) return refuse('unidentified');
    const ofUid = (other: string): boolean => other.startsWith(`${uid} `);
    // who holds more than a few places makes room among his own
    const among = this.#perUid.count(String(uid)) < fewPerUid ? undefined : ofUid;
    if (!this.#hasPlace(uid, admitted) && !(admitted && this.#evict(holder, among)))
      return refuse('total');
    const release =
      this.#perUid.take(String(uid)) ??
      (this.#evict(holder, ofUid) ? this.#perUid.take(String(uid)) : undefined);
    if (release === undefined) return refuse('uid');
    this.#counter += 1;
    const connection: LocalConnection = new LocalConnection({
      id: `unix:${this.#counter}`,
      ...{ uid, pid, holder, peer, refusal, socket, clock },
      ...(admitted
        ? { firstCallMs: limits.firstCallMs, idleMs: limits.idleMs, lifeMs: undefined }
        : { firstCallMs: limits.strangerMs, idleMs: limits.strangerMs, lifeMs: limits.strangerMs }),
      onBusy: (busy) =>
        busy ? this.#unfinished.delete(connection) : this.#unfinished.add(connection, holder),
      unreadBytes: () => unreadBytes(socket, kernel),
      takeCgroup: (key) => this.#perCgroup.take(key),
      releasePlace: release,
    });
    this.#open.set(connection.id, connection);
    this.#unfinished.add(connection, holder);
    metrics.connectionOpened();
    socket.once('close', () => {
      this.#forget(connection);
      connection.closed();
      metrics.connectionClosed();
    });
    return connection;
  }

  /** Milliseconds until a refusal of this process, or of its user and group, is affordable. */
  unidentifiedWaitMs(connection: LocalConnection): number {
    return this.#unidentified.waitMs(connection);
  }

  /** The process was told that it has no identity. */
  chargeUnidentified(connection: LocalConnection): void {
    this.#unidentified.charge(connection);
  }

  /** The process was given an identity. */
  identified(connection: LocalConnection): void {
    this.#unidentified.identified(connection);
  }

  /** The entries changed: who was refused may have an identity now. */
  forgiveUnidentified(): void {
    this.#unidentified.clear();
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

  /** Counts and logs that the caller and this socket do not agree on TLS. */
  handshakeFailed({ uid, pid }: LocalConnection, code: string): void {
    const { metrics, logger } = this.#options;
    metrics.http2Refused('connection', code);
    if (this.#refusalLogs.take(`tls:${uid}`) === 0)
      logger.warn({ code, uid, pid }, 'a TLS handshake on a socket of the agent failed');
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

  /** Ends the oldest connection without a call of whoever has most of them; false: there is none. */
  #evict(newcomer: string, among?: (holder: string) => boolean): boolean {
    const victim = this.#unfinished.victim(newcomer, among);
    if (victim === undefined) return false;
    this.#options.metrics.connectionRefused('evicted');
    this.#forget(victim);
    victim.close();
    return true;
  }

  /** Its places are free, though the socket may take a turn to close. */
  #forget(connection: LocalConnection): void {
    this.#unfinished.delete(connection);
    this.#open.delete(connection.id);
    connection.releasePlace();
  }

  #refuse(socket: Socket, reason: RefusedConnection, uid: number): undefined {
    const { metrics, logger } = this.#options;
    socket.destroy();
    metrics.connectionRefused(reason);
    if (this.#refusalLogs.take(`${reason}:${uid}`) === 0)
      logger.warn(
        { reason, uid, open: this.#open.size },
        reason === 'unidentified'
          ? 'a connection was refused: its process has no identity and asks too often'
          : 'a connection was refused: no place left',
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

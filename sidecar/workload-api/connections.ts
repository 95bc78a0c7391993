import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Attestor, Kernel, Peer } from '../attest/index.ts';
import { OpenCounter, RateLimit } from './limits.ts';
import type { WorkloadApiLimits, WorkloadApiMetrics } from './ports.ts';

/** One accepted connection and the process behind it. Owner of the peer. */
export interface Connection {
  readonly id: string;
  readonly uid: number;
  readonly pid: number;
  /** undefined: the kernel could not vouch for the peer; `refusal` says why, to whoever calls. */
  readonly peer: Peer | undefined;
  readonly refusal: PkiError | undefined;
  /** Ends each open call with an error, then the connection. */
  fail(error: PkiError): void;
  /** Registers an open call; the returned function ends the registration. */
  enter(end: (error: PkiError) => void): () => void;
  /** Counts the connection towards its cgroup, once it is known. False: no place left. */
  countIn(cgroupKey: string): boolean;
  /** See Kernel.unreadBytes; undefined too after the socket closed. */
  unreadBytes(): number | undefined;
  destroy(): void;
}

export interface Connections {
  /** Takes over an accepted socket, or closes it; `undefined` if it was closed. */
  accept(socket: Socket): Connection | undefined;
  byId(id: string): Connection | undefined;
  size(): number;
  /** Ends the connections whose process has exited, and looks at some for an unseen exec. */
  sweep(): void;
  failAll(error: PkiError): void;
  destroyAll(): void;
}

interface Handle {
  readonly fd: number;
}

const descriptorsPerConnection = 2;
const trailersMs = 250;
const sweptPerRound = 64;
/**
 * Above this share of the places a uid that already holds some gets no more, so that others find
 * one.
 */
const scarceShare = 0.8;
const fewPerUid = 8;

export function createConnections(options: {
  readonly attestor: Attestor;
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: WorkloadApiMetrics;
  readonly limits: WorkloadApiLimits;
}): Connections {
  const { attestor, kernel, clock, logger, metrics, limits } = options;
  const open = new Map<string, Entry>();
  const perUid = new OpenCounter(limits.connectionsPerUid);
  const perCgroup = new OpenCounter(limits.connectionsPerCgroup);
  const total = Math.max(
    16,
    Math.min(
      limits.connections,
      Math.floor((descriptorLimit() - limits.reservedDescriptors) / descriptorsPerConnection),
    ),
  );
  const refusalLogs = new RateLimit(clock, 0.2, 5);
  let counter = 0;
  let swept = 0;

  interface Entry extends Connection {
    readonly calls: Set<(error: PkiError) => void>;
  }

  const refuse = (socket: Socket, reason: 'total' | 'uid', uid: number): undefined => {
    socket.destroy();
    metrics.connectionRefused(reason);
    if (refusalLogs.take(`${reason}:${uid}`) === 0)
      logger.warn({ reason, uid, open: open.size }, 'a connection was refused: no place left');
    return undefined;
  };

  const accept = (socket: Socket): Connection | undefined => {
    socket.on('error', () => {});
    const fd = (socket as unknown as { readonly _handle: Handle | null })._handle?.fd ?? -1;
    if (fd < 0) {
      socket.destroy();
      return undefined;
    }
    const { uid, pid } = kernel.peerCredentials(fd);
    const key = String(uid);
    if (open.size >= total || (open.size >= total * scarceShare && perUid.count(key) >= fewPerUid))
      return refuse(socket, 'total', uid);
    const release = perUid.take(key);
    if (release === undefined) return refuse(socket, 'uid', uid);

    let peer: Peer | undefined;
    let refusal: PkiError | undefined;
    try {
      peer = attestor.connect(fd);
    } catch (thrown) {
      refusal = PkiError.from(thrown);
    }
    counter += 1;
    const id = `unix:${counter}`;
    // grpc-js maps a call to its connection by the remote address alone
    Object.defineProperty(socket, 'remoteAddress', { value: id });

    let cancelIdle = clock.after(limits.firstCallMs, () => socket.destroy());
    let cgroup: { readonly key: string; readonly release: () => void } | undefined;
    const calls = new Set<(error: PkiError) => void>();
    const connection: Entry = {
      id,
      uid,
      pid,
      peer,
      refusal,
      calls,
      fail(error) {
        for (const end of [...calls]) end(error);
        // time for the trailers to leave; the process behind gets nothing else from now on
        clock.after(trailersMs, () => socket.destroy());
      },
      enter(end) {
        cancelIdle();
        calls.add(end);
        return () => {
          if (!calls.delete(end) || calls.size > 0 || socket.destroyed) return;
          cancelIdle();
          cancelIdle = clock.after(limits.idleMs, () => socket.destroy());
        };
      },
      countIn(cgroupKey) {
        // the root of the hierarchy is no one's own: there only the uid counts
        if (cgroupKey === '/' || cgroup?.key === cgroupKey) return true;
        const place = perCgroup.take(cgroupKey);
        if (place === undefined) return false;
        cgroup?.release();
        cgroup = { key: cgroupKey, release: place };
        return true;
      },
      unreadBytes() {
        // read from the handle each time: after close the number may belong to another file
        const now = (socket as unknown as { readonly _handle: Handle | null })._handle?.fd ?? -1;
        return now < 0 ? undefined : kernel.unreadBytes(now);
      },
      destroy: () => void socket.destroy(),
    };
    open.set(id, connection);
    metrics.connectionOpened();
    socket.once('close', () => {
      cancelIdle();
      open.delete(id);
      release();
      cgroup?.release();
      peer?.[Symbol.dispose]();
      metrics.connectionClosed();
    });
    return connection;
  };

  return {
    accept,
    byId: (id) => open.get(id),
    size: () => open.size,
    sweep() {
      const active = [...open.values()].filter(
        (each) => each.calls.size > 0 && each.peer !== undefined,
      );
      const byPeer = new Map(active.map((each) => [each.peer as Peer, each]));
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
        swept = (swept + 1) % rest.length;
        const [peer, connection] = rest[swept] as [Peer, Entry];
        try {
          attestor.verify(peer);
        } catch (thrown) {
          connection.fail(PkiError.from(thrown));
        }
      }
    },
    failAll(error) {
      for (const each of [...open.values()]) for (const end of [...each.calls]) end(error);
    },
    destroyAll() {
      for (const each of [...open.values()]) each.destroy();
    },
  };
}

/** The soft RLIMIT_NOFILE; Node raises it to the hard limit at start. */
function descriptorLimit(): number {
  try {
    const found = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return found === undefined ? 1024 : found === 'unlimited' ? 1 << 20 : Number(found);
  } catch {
    return 1024;
  }
}

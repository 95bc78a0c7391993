import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { Peer } from '../attest/index.ts';

export interface LocalConnectionDependencies {
  readonly id: string;
  readonly uid: number;
  readonly pid: number;
  /** User and control group, at the time of connect. */
  readonly holder: string;
  /** undefined: the kernel could not vouch for the peer; `refusal` says why. */
  readonly peer: Peer | undefined;
  readonly refusal: PkiError | undefined;
  readonly socket: Socket;
  readonly clock: Clock;
  readonly firstCallMs: number;
  readonly idleMs: number;
  /** It is closed after this, whatever it does; undefined: not for its age. */
  readonly lifeMs: number | undefined;
  /** Called when the first open call begins and when the last one ends. */
  readonly onBusy: (busy: boolean) => void;
  readonly unreadBytes: () => number | undefined;
  /** The function that gives the place back, or undefined: the cgroup has no place left. */
  readonly takeCgroup: (key: string) => (() => void) | undefined;
  /** Gives its place among those of its uid back. Idempotent. */
  readonly releasePlace: () => void;
}

/** Time for the trailers to leave. */
const trailersMs = 250;

/**
 * One accepted connection and the process behind it. Owner of the peer. Closed, it lets go of its
 * socket: tables of connections that grow and shrink leave old copies to the garbage collector, which
 * keep what they held until a full collection.
 */
export class LocalConnection {
  readonly id: string;
  readonly uid: number;
  readonly pid: number;
  readonly holder: string;
  readonly peer: Peer | undefined;
  readonly releasePlace: () => void;
  readonly #refusal: PkiError | undefined;
  /** Undefined: the socket has closed. */
  #open: LocalConnectionDependencies | undefined;
  readonly #calls = new Set<(error: PkiError) => void>();
  #cancelIdle: () => void;
  readonly #cancelLife: () => void;
  #cgroup: { readonly key: string; readonly release: () => void } | undefined;
  /** What the last attestation on this connection found. */
  selectors: readonly Selector[] = [];

  constructor(dependencies: LocalConnectionDependencies) {
    this.#open = dependencies;
    const { id, uid, pid, holder, peer, refusal, clock, firstCallMs, lifeMs } = dependencies;
    this.id = id;
    this.uid = uid;
    this.pid = pid;
    this.holder = holder;
    this.peer = peer;
    this.#refusal = refusal;
    this.releasePlace = dependencies.releasePlace;
    this.#cancelIdle = clock.after(firstCallMs, () => this.close());
    this.#cancelLife = lifeMs === undefined ? () => {} : clock.after(lifeMs, () => this.close());
  }

  get openCalls(): number {
    return this.#calls.size;
  }

  /** The process that connected; throws PEER_UNVERIFIABLE where the kernel does not vouch for it. */
  vouched(): Peer {
    if (this.peer !== undefined) return this.peer;
    throw (
      this.#refusal ?? new PkiError('PEER_UNVERIFIABLE', 'the kernel does not vouch for the caller')
    );
  }

  /** Ends each open call with an error, then the connection. */
  fail(error: PkiError): void {
    this.endCalls(error);
    // the process behind it gets nothing else from now on
    this.#open?.clock.after(trailersMs, () => this.close());
  }

  endCalls(error: PkiError): void {
    for (const end of [...this.#calls]) end(error);
  }

  /** Registers an open call; the returned function ends the registration. */
  enter(end: (error: PkiError) => void): () => void {
    this.#cancelIdle();
    if (this.#calls.size === 0) this.#open?.onBusy(true);
    this.#calls.add(end);
    return () => {
      if (!this.#calls.delete(end) || this.#calls.size > 0) return;
      if (this.#open === undefined || this.#open.socket.destroyed) return;
      const { clock, idleMs, onBusy } = this.#open;
      onBusy(false);
      this.#cancelIdle();
      this.#cancelIdle = clock.after(idleMs, () => this.close());
    };
  }

  /** Counts the connection towards its cgroup, once it is known. False: no place left. */
  countIn(cgroupKey: string): boolean {
    // the root of the hierarchy is no one's own: there only the uid counts
    if (cgroupKey === '/' || this.#cgroup?.key === cgroupKey) return true;
    const release = this.#open?.takeCgroup(cgroupKey);
    if (release === undefined) return false;
    this.#cgroup?.release();
    this.#cgroup = { key: cgroupKey, release };
    return true;
  }

  /** See Kernel.unreadBytes; undefined too after the socket closed. */
  unreadBytes(): number | undefined {
    return this.#open?.unreadBytes();
  }

  close(): void {
    this.#open?.socket.destroy();
  }

  /** The socket has closed. */
  closed(): void {
    this.#cancelIdle();
    this.#cancelLife();
    this.#cgroup?.release();
    this.peer?.[Symbol.dispose]();
    this.#open = undefined;
    this.#cancelIdle = () => {};
    this.selectors = [];
  }
}

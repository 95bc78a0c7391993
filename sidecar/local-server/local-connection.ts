import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
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
}

/** Time for the trailers to leave. */
const trailersMs = 250;

/** One accepted connection and the process behind it. Owner of the peer. */
export class LocalConnection {
  readonly #dependencies: LocalConnectionDependencies;
  readonly #calls = new Set<(error: PkiError) => void>();
  #cancelIdle: () => void;
  readonly #cancelLife: () => void;
  #cgroup: { readonly key: string; readonly release: () => void } | undefined;

  constructor(dependencies: LocalConnectionDependencies) {
    this.#dependencies = dependencies;
    const { clock, firstCallMs, lifeMs } = dependencies;
    this.#cancelIdle = clock.after(firstCallMs, () => this.close());
    this.#cancelLife = lifeMs === undefined ? () => {} : clock.after(lifeMs, () => this.close());
  }

  get id(): string {
    return this.#dependencies.id;
  }
  get uid(): number {
    return this.#dependencies.uid;
  }
  get pid(): number {
    return this.#dependencies.pid;
  }
  get holder(): string {
    return this.#dependencies.holder;
  }
  get peer(): Peer | undefined {
    return this.#dependencies.peer;
  }
  get openCalls(): number {
    return this.#calls.size;
  }

  /** The process that connected; throws PEER_UNVERIFIABLE where the kernel does not vouch for it. */
  vouched(): Peer {
    const { peer, refusal } = this.#dependencies;
    if (peer !== undefined) return peer;
    throw refusal ?? new PkiError('PEER_UNVERIFIABLE', 'the kernel does not vouch for the caller');
  }

  /** Ends each open call with an error, then the connection. */
  fail(error: PkiError): void {
    this.endCalls(error);
    // the process behind it gets nothing else from now on
    this.#dependencies.clock.after(trailersMs, () => this.close());
  }

  endCalls(error: PkiError): void {
    for (const end of [...this.#calls]) end(error);
  }

  /** Registers an open call; the returned function ends the registration. */
  enter(end: (error: PkiError) => void): () => void {
    const { socket, clock, idleMs, onBusy } = this.#dependencies;
    this.#cancelIdle();
    if (this.#calls.size === 0) onBusy(true);
    this.#calls.add(end);
    return () => {
      if (!this.#calls.delete(end) || this.#calls.size > 0 || socket.destroyed) return;
      onBusy(false);
      this.#cancelIdle();
      this.#cancelIdle = clock.after(idleMs, () => this.close());
    };
  }

  /** Counts the connection towards its cgroup, once it is known. False: no place left. */
  countIn(cgroupKey: string): boolean {
    // the root of the hierarchy is no one's own: there only the uid counts
    if (cgroupKey === '/' || this.#cgroup?.key === cgroupKey) return true;
    const release = this.#dependencies.takeCgroup(cgroupKey);
    if (release === undefined) return false;
    this.#cgroup?.release();
    this.#cgroup = { key: cgroupKey, release };
    return true;
  }

  /** See Kernel.unreadBytes; undefined too after the socket closed. */
  unreadBytes(): number | undefined {
    return this.#dependencies.unreadBytes();
  }

  close(): void {
    this.#dependencies.socket.destroy();
  }

  /** The socket has closed. */
  closed(): void {
    this.#cancelIdle();
    this.#cancelLife();
    this.#cgroup?.release();
    this.#dependencies.peer?.[Symbol.dispose]();
  }
}

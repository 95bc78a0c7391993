import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { PkiError } from '../../src/common/errors/index.ts';
import {
  peerCredentials,
  socketOption,
  type PeerCredentials,
} from '../../src/common/unix/peer-credentials.ts';

export type { PeerCredentials };

/**
 * The few system calls that Node does not offer. All are constant time and none waits. Linux on
 * 64-bit machines only.
 */
export interface Kernel {
  peerCredentials(socketFd: number): PeerCredentials;
  /**
   * Supplementary groups at the time of connect; undefined where the kernel lacks SO_PEERGROUPS
   * (before 4.13).
   */
  peerGroups(socketFd: number): readonly number[] | undefined;
  /**
   * A new descriptor, which the caller closes; undefined where the kernel lacks SO_PEERPIDFD
   * (before 6.5). Throws PEER_UNVERIFIABLE if the peer is gone.
   */
  peerPidfd(socketFd: number): number | undefined;
  /**
   * A new descriptor, which the caller closes; undefined where the kernel lacks pidfd_open. Throws
   * PEER_UNVERIFIABLE if there is no such process.
   */
  pidfdOpen(pid: number): number | undefined;
  /** For each pidfd: has its process exited (zombies included)? One system call for all. */
  exited(pidfds: readonly number[]): readonly boolean[];
  /**
   * Bytes sent on a Unix socket that its reader has not taken yet (SIOCOUTQ); undefined if the
   * descriptor can not tell.
   */
  unreadBytes(socketFd: number): number | undefined;
  /**
   * Copies what the socket has received and nobody has read yet, and leaves it there. Returns the
   * number of bytes; 0 if there are none, or the descriptor can not tell.
   */
  peek(socketFd: number, into: Buffer): number;
  close(fd: number): void;
}

const SO_PEERGROUPS = 59;
const SO_PEERPIDFD = 77;
const SIOCOUTQ = 0x5411;
const MSG_PEEK = 0x02;
const MSG_DONTWAIT = 0x40;
const SYS_pidfd_open = 434;
const POLLIN = 1;
const EINTR = 4;
const EINVAL = 22;
const ERANGE = 34;
const ENOSYS = 38;
const ENOPROTOOPT = 92;

let shared: Kernel | undefined;

/**
 * Binds libc once per process: the symbols come from the running program, so that glibc and musl
 * both work.
 */
export function linuxKernel(): Kernel {
  shared ??= new LinuxKernel();
  return shared;
}

type Poll = (fds: Buffer, count: number, timeoutMs: number) => number;
type Ioctl = (fd: number, request: number, value: Buffer) => number;
type Receive = (fd: number, into: Buffer, length: number, flags: number) => number | bigint;
type Syscall = (number: number, pid: number, flags: number) => number;

class LinuxKernel implements Kernel {
  readonly #poll: Poll;
  readonly #ioctl: Ioctl;
  readonly #syscall: Syscall;
  readonly #receive: Receive;
  readonly #value = Buffer.alloc(16);
  readonly #length = Buffer.alloc(4);
  readonly #pollOne = Buffer.alloc(8);
  #groups = Buffer.alloc(4 * 64);
  readonly peerCredentials = peerCredentials;

  constructor() {
    const lib = koffi.load(null);
    this.#poll = lib.func('int poll(void *, unsigned long, int)') as Poll;
    // koffi reads the types of variable arguments anew at each call; a pointer is passed alike
    this.#ioctl = lib.func('int ioctl(int, unsigned long, void *)') as Ioctl;
    this.#syscall = lib.func('long syscall(long, int, unsigned int)') as Syscall;
    this.#receive = lib.func('long recv(int, void *, unsigned long, int)') as Receive;
  }

  peerGroups(socketFd: number): readonly number[] | undefined {
    const length = this.#length;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const groups = this.#groups;
      length.writeUInt32LE(groups.length);
      if (socketOption(socketFd, SO_PEERGROUPS, groups, length) === 0) {
        return Array.from({ length: length.readUInt32LE() / 4 }, (_, index) =>
          groups.readUInt32LE(index * 4),
        );
      }
      const errno = koffi.errno();
      if (errno === ENOPROTOOPT || errno === EINVAL) return undefined;
      // the kernel wrote the size that it needs
      if (errno !== ERANGE || length.readUInt32LE() > 4 * 65_536) break;
      this.#groups = Buffer.alloc(length.readUInt32LE());
    }
    return [];
  }

  peerPidfd(socketFd: number): number | undefined {
    this.#length.writeUInt32LE(4);
    if (socketOption(socketFd, SO_PEERPIDFD, this.#value, this.#length) === 0)
      return this.#value.readInt32LE(0);
    const errno = koffi.errno();
    if (errno === ENOPROTOOPT) return undefined;
    throw new PkiError('PEER_UNVERIFIABLE', 'the process that connected is gone', {
      detail: { errno },
    });
  }

  pidfdOpen(pid: number): number | undefined {
    const fd = Number(this.#syscall(SYS_pidfd_open, pid, 0));
    if (fd >= 0) return fd;
    const errno = koffi.errno();
    if (errno === ENOSYS) return undefined;
    throw new PkiError('PEER_UNVERIFIABLE', `there is no process ${pid}`, { detail: { errno } });
  }

  exited(pidfds: readonly number[]): readonly boolean[] {
    if (pidfds.length === 0) return [];
    const fds = pidfds.length === 1 ? this.#pollOne : Buffer.alloc(8 * pidfds.length);
    pidfds.forEach((fd, index) => {
      fds.writeInt32LE(fd, index * 8);
      fds.writeInt16LE(POLLIN, index * 8 + 4);
      fds.writeInt16LE(0, index * 8 + 6);
    });
    // any event, an error too, counts as gone: what can not be shown to live gets nothing
    let result = this.#poll(fds, pidfds.length, 0);
    // a signal to the agent (a reload) says nothing of the processes
    for (let tries = 0; result < 0 && koffi.errno() === EINTR && tries < 100; tries += 1)
      result = this.#poll(fds, pidfds.length, 0);
    return pidfds.map((_, index) => result < 0 || fds.readInt16LE(index * 8 + 6) !== 0);
  }

  unreadBytes(socketFd: number): number | undefined {
    return this.#ioctl(socketFd, SIOCOUTQ, this.#value) === 0
      ? this.#value.readInt32LE(0)
      : undefined;
  }

  peek(socketFd: number, into: Buffer): number {
    return Math.max(0, Number(this.#receive(socketFd, into, into.length, MSG_PEEK | MSG_DONTWAIT)));
  }

  close(fd: number): void {
    closeSync(fd);
  }
}

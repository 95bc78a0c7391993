import koffi from 'koffi';
import { PkiError } from '../errors/index.ts';

/**
 * The process that connected a Unix socket, as the kernel noted it at connect(2) (unix(7),
 * SO_PEERCRED). Later changes of the process do not show.
 */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const lengthOfUcred = 12;

/**
 * getsockopt(2) at the level of the socket. `length` (4 bytes) is input and output. Returns 0, or
 * -1 with the error in koffi.errno().
 */
export type SocketOption = (fd: number, name: number, value: Buffer, length: Buffer) => number;

let bound: SocketOption | undefined;

/** Bound at first use from the running program, so that glibc and musl both work. */
export const socketOption: SocketOption = (fd, name, value, length) => {
  if (bound === undefined) {
    const getsockopt = koffi
      .load(null)
      // oxlint-disable-next-line max-params -- getsockopt(2) has five
      .func('int getsockopt(int, int, int, void *, void *)') as (
      fd: number,
      level: number,
      name: number,
      value: Buffer,
      length: Buffer,
    ) => number;
    bound = (...args) => getsockopt(args[0], SOL_SOCKET, args[1], args[2], args[3]);
  }
  return bound(fd, name, value, length);
};

const value = Buffer.alloc(16);
const length = Buffer.alloc(4);

/** Throws PEER_UNVERIFIABLE. */
export function peerCredentials(fd: number): PeerCredentials {
  length.writeUInt32LE(lengthOfUcred);
  if (
    socketOption(fd, SO_PEERCRED, value, length) !== 0 ||
    length.readUInt32LE() !== lengthOfUcred
  ) {
    throw new PkiError('PEER_UNVERIFIABLE', 'the kernel gives no credentials for this connection', {
      detail: { errno: koffi.errno() },
    });
  }
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

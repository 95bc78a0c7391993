import koffi from 'koffi';
import { PkiError } from '../common/errors/index.ts';

const solSocket = 1;
const soPeercred = 17;
const lengthOfUcred = 12;

const libc = koffi.load(null);
const getsockopt = libc.func('int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)');

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** SO_PEERCRED of a connected Unix socket (unix(7)): who connected, as the kernel noted it then. Throws PEER_UNVERIFIABLE. */
export function peerCredentials(fd: number): PeerCredentials {
  const value = Buffer.alloc(lengthOfUcred);
  const length = [lengthOfUcred];
  if ((getsockopt(fd, solSocket, soPeercred, value, length) as number) !== 0) throw new PkiError('PEER_UNVERIFIABLE', 'the kernel gave no credentials for the connection');
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

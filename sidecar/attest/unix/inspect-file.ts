import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, statfsSync, statSync } from 'node:fs';

export interface InspectRequest {
  /** For example /proc/123/exe. */
  readonly file: string;
  /** Where the agent would find the same file; it is compared by device and inode. */
  readonly expectedPath?: string;
  readonly hash: boolean;
  readonly maximumBytes: number;
}

export interface Inspection {
  /** True: `expectedPath` in the agent's own mount namespace is this very file. */
  readonly samePath: boolean;
  /** True: no directory names the file any more. */
  readonly unlinked: boolean;
  /** Lower-case hex. */
  readonly sha256?: string;
  readonly problem?: string;
}

const FUSE_SUPER_MAGIC = 0x6573_5546;
const chunk = 1 << 20;

/**
 * Opens and reads a file that a workload may control: it can block for ever, so this runs in a
 * process of its own only. A file on FUSE has no hash: who serves the file system can show the
 * reader other bytes than the ones that run.
 */
export function inspectFile(request: InspectRequest): Inspection {
  const fd = openSync(request.file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const found = fstatSync(fd, { bigint: true });
    const unlinked = found.nlink === 0n;
    const samePath = request.expectedPath !== undefined && isSame(request.expectedPath, found);
    if (!request.hash) return { samePath, unlinked };
    if (!found.isFile()) return { samePath, unlinked, problem: 'the binary is not a regular file' };
    if (found.size > BigInt(request.maximumBytes))
      return {
        samePath,
        unlinked,
        problem: `the binary has ${found.size} bytes, more than ${request.maximumBytes}`,
      };
    if (statfsSync(`/proc/self/fd/${fd}`).type === FUSE_SUPER_MAGIC)
      return {
        samePath,
        unlinked,
        problem: 'the binary lies on a FUSE file system, whose contents can not be trusted',
      };
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(chunk);
    let total = 0;
    for (;;) {
      const count = readSync(fd, buffer, 0, chunk, null);
      if (count === 0) break;
      total += count;
      if (total > request.maximumBytes)
        return {
          samePath,
          unlinked,
          problem: `the binary has more than ${request.maximumBytes} bytes`,
        };
      hash.update(buffer.subarray(0, count));
    }
    return { samePath, unlinked, sha256: hash.digest('hex') };
  } finally {
    closeSync(fd);
  }
}

function isSame(path: string, found: { readonly dev: bigint; readonly ino: bigint }): boolean {
  const own = statSync(path, { bigint: true, throwIfNoEntry: false });
  return own !== undefined && own.dev === found.dev && own.ino === found.ino;
}

import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';

/**
 * Reads files of /proc that the kernel answers from memory. Nothing here touches the file system of
 * a workload, which may hang.
 */
export interface Proc {
  /** Undefined if there is no such process, or no right to read. */
  read(pid: number, name: 'status' | 'stat' | 'cgroup'): string | undefined;
  /**
   * The target of a magic link as bytes. Undefined if there is no such process, or no right to
   * read.
   */
  link(pid: number | 'self', name: 'exe' | 'ns/mnt' | 'ns/user'): Buffer | undefined;
}

const maximumBytes = 1 << 20;

export function linuxProc(root = '/proc'): Proc {
  let buffer = Buffer.alloc(16_384);
  return {
    read(pid, name) {
      let fd: number;
      try {
        fd = openSync(`${root}/${pid}/${name}`, 'r');
      } catch {
        return undefined;
      }
      try {
        let length = 0;
        for (;;) {
          const count = readSync(fd, buffer, length, buffer.length - length, null);
          length += count;
          if (count === 0 || length < buffer.length) return buffer.toString('utf8', 0, length);
          if (length >= maximumBytes) return undefined;
          buffer = Buffer.concat([buffer, Buffer.alloc(buffer.length)]);
        }
      } catch {
        // ESRCH: the process exited between open and read
        return undefined;
      } finally {
        closeSync(fd);
      }
    },
    link(pid, name) {
      try {
        return readlinkSync(`${root}/${pid}/${name}`, 'buffer');
      } catch {
        return undefined;
      }
    },
  };
}

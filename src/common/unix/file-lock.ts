import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import koffi from 'koffi';

/** <sys/file.h>, <errno.h> */
const LOCK_EX = 2;
const LOCK_NB = 4;
const EINTR = 4;
const EWOULDBLOCK = 11;

/** flock(2): 0, or the error number. */
export type Flock = (fd: number, operation: number) => number;

let bound: Flock | undefined;

const flock: Flock = (fd, operation) => {
  if (bound === undefined) {
    const call = koffi.load(null).func('int flock(int, int)') as (
      fd: number,
      operation: number,
    ) => number;
    bound = (...args) => (call(...args) === 0 ? 0 : koffi.errno());
  }
  return bound(fd, operation);
};

export type LockResult =
  | {
      readonly held: true;
      /** The file at the path is still the one that is locked. */
      stands(): boolean;
      release(): void;
    }
  | {
      readonly held: false /** What the holder wrote, as it stands; may be empty. */;
      readonly holder: string;
    };

/**
 * Takes the lock of a file for the life of this process, or returns its present holder. The kernel
 * frees the lock when the process ends, even after kill -9, so that a leftover file blocks nobody.
 * The file itself stays, since a removed file could be locked twice, by its old and its new name.
 * Children do not inherit the lock. `holder` is written into the file for the next process that is
 * refused. Throws the error of open(2), and an error with `errno` if the file system has no such
 * locks.
 */
export function lockFile(path: string, holder: string, lock: Flock = flock): LockResult {
  const fd = openLock(path);
  try {
    // reading a FIFO or a terminal would block this thread for ever
    if (!fstatSync(fd).isFile()) throw new Error('it is no plain file');
    let error = lock(fd, LOCK_EX | LOCK_NB);
    while (error === EINTR) error = lock(fd, LOCK_EX | LOCK_NB);
    if (error === EWOULDBLOCK) {
      const text = readFileSync(fd, 'utf8').slice(0, 200);
      closeSync(fd);
      return { held: false, holder: text };
    }
    if (error !== 0)
      throw Object.assign(new Error(`the file system gives no lock (errno ${error})`), {
        errno: error,
      });
    write(fd, holder);
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
  return { held: true, stands: () => isSame(fd, path), release: () => closeSync(fd) };
}

/** On a read-only file system: the file that is there. */
function openLock(path: string): number {
  const { O_RDONLY, O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    return openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EROFS') throw thrown;
    try {
      return openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch {
      throw thrown;
    }
  }
}

function isSame(fd: number, path: string): boolean {
  try {
    const [locked, standing] = [fstatSync(fd), lstatSync(path)];
    return standing.ino === locked.ino && standing.dev === locked.dev;
  } catch {
    return false;
  }
}

/**
 * Writes the holder, for a process that is refused. A failure does not affect the lock, for example
 * on a full disk, or on a read-only disk, where the file is open for reading only.
 */
function write(fd: number, holder: string): void {
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, holder, 0);
  } catch (thrown) {
    if (
      !['ENOSPC', 'EDQUOT', 'EBADF', 'EROFS', 'EINVAL'].includes(
        (thrown as NodeJS.ErrnoException).code ?? '',
      )
    )
      throw thrown;
  }
}

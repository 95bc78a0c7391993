import { makeDirectory } from '../../src/common/unix/make-directory.ts';
import { chmod, chown, link, lstat, mkdtemp, rm, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { PkiError } from '../../src/common/errors/index.ts';

export interface SocketOptions {
  /** Absolute. A missing directory is made. */
  readonly path: string;
  /** Permission bits; connecting needs the write bit. Default 0o777: every caller is attested. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface ListeningSocket {
  readonly server: Server;
  /**
   * Stops accepting, and removes the socket file if it is still this one. Open connections stay
   * open.
   */
  close(): Promise<void>;
}

/**
 * sun_path has 108 bytes, and the socket is first bound in a directory of its own beside the path.
 */
const maximumPathBytes = 90;
const probeMs = 2_000;

/**
 * Listens on a Unix socket. The file gets its name only with its final owner and mode. It never
 * replaces a live socket (SOCKET_IN_USE), and replaces a stale one, on which nobody listens.
 */
export async function listenUnix(
  options: SocketOptions,
  onConnection: (socket: Socket) => void,
): Promise<ListeningSocket> {
  const { path, mode = 0o777, uid, gid } = options;
  if (!isAbsolute(path) || Buffer.byteLength(path) > maximumPathBytes) {
    throw new PkiError(
      'CONFIG_INVALID',
      `socket path ${JSON.stringify(path)} must be absolute and have at most ${maximumPathBytes} bytes`,
    );
  }
  makeDirectory(dirname(path), 0o755);
  await removeStale(path);
  // mkdtemp makes it 0700, so nobody connects before owner and mode are right
  const nursery = await mkdtemp(join(dirname(path), `.${basename(path).slice(0, 4)}-`));
  const temporary = join(nursery, 's');
  const server = createServer(onConnection);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path: temporary, backlog: 1024 }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    if (uid !== undefined || gid !== undefined) await chown(temporary, uid ?? -1, gid ?? -1);
    await chmod(temporary, mode);
    // unlike rename, link fails if another process was faster
    await link(temporary, path);
  } catch (thrown) {
    server.close();
    await rm(nursery, { recursive: true, force: true });
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new PkiError('SOCKET_IN_USE', `another process took ${path} at the same time`);
    throw new PkiError('CONFIG_INVALID', `can not listen on ${path}: ${message}`, {
      cause: thrown,
    });
  }
  const { ino } = await lstat(path, { bigint: true });
  await rm(nursery, { recursive: true, force: true });

  return {
    server,
    async close() {
      server.close();
      const found = await lstat(path, { bigint: true }).catch(() => undefined);
      if (found?.ino === ino) await unlink(path).catch(() => {});
    },
  };
}

async function removeStale(path: string): Promise<void> {
  const before = await lstat(path, { bigint: true }).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return undefined;
    throw new PkiError('CONFIG_INVALID', `can not look at ${path}: ${thrown.message}`, {
      cause: thrown,
    });
  });
  if (before === undefined) return;
  if (!before.isSocket())
    throw new PkiError(
      'CONFIG_INVALID',
      `${path} exists and is not a socket; move it away or choose another path`,
    );
  const outcome = await probe(path);
  if (outcome !== 'ECONNREFUSED')
    throw new PkiError('SOCKET_IN_USE', `a process listens on ${path}`, { detail: { outcome } });
  const after = await lstat(path, { bigint: true }).catch(() => undefined);
  if (after !== undefined && after.ino === before.ino) await unlink(path).catch(() => {});
}

/**
 * `ECONNREFUSED` means that nobody listens. Any other result (connected, no right, backlog full, no
 * answer) may mean a live process.
 */
function probe(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (outcome: string): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(probeMs, () => done('timeout'));
    socket.once('connect', () => done('connected'));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'error'));
  });
}

import { constants, type Stats } from 'node:fs';
import { chmod, lstat, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { PkiError } from '../../src/common/errors/index.ts';
import { makeDirectory } from '../../src/common/unix/make-directory.ts';

/** A disk that takes nothing at the moment. What is on it may be good. */
const takesNothing: ReadonlySet<string> = new Set(['EROFS', 'ENOSPC', 'EDQUOT', 'EIO']);

/** Whether nothing but a full or read-only disk is the reason. */
export const isFull = (thrown: unknown): boolean =>
  takesNothing.has(
    ((thrown instanceof PkiError ? thrown.cause : thrown) as NodeJS.ErrnoException | undefined)
      ?.code ?? '',
  );

const temporaryName = /^\.[0-9a-f]{16}\.tmp$/;

/**
 * Makes a directory that only its owner, this process, can enter, and clears what a crash left
 * behind in it. Throws STATE_UNUSABLE.
 */
export async function privateDirectory(path: string): Promise<void> {
  const writable = await ownDirectory(path).catch((thrown: unknown) => {
    if (!isFull(thrown)) throw thrown;
    return false;
  });
  if (!writable) return;
  try {
    for (const name of await readdir(path))
      if (temporaryName.test(name)) await rm(join(path, name), { force: true });
  } catch (thrown) {
    throw new PkiError(
      'STATE_UNUSABLE',
      `the directory ${path} can not be used: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

/**
 * The same, with everything left in it as it is. False: the disk is full or read-only, so that
 * nothing new can be kept; what is in the directory may be read. Throws STATE_UNUSABLE.
 */
export async function ownDirectory(path: string): Promise<boolean> {
  try {
    makeDirectory(path, 0o700);
    const found = await lstat(path);
    if (!found.isDirectory()) throw new Error('it is no directory');
    await assertNotPlanted(path, found.mode);
    // whoever owns it can put another bundle in, whatever the modes say
    const probe = await ownerOfNew(path);
    if (probe.uid !== found.uid)
      throw new Error(`it belongs to user ${found.uid}, the agent is user ${probe.uid}`);
    // a directory made by hand or by a package is narrowed, never used as it was
    if (probe.writable && (found.mode & 0o077) !== 0) await chmod(path, 0o700);
    return probe.writable;
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    throw new PkiError(
      'STATE_UNUSABLE',
      `the directory ${path} can not be used: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

/** Who we are, by a new file; where none can be made, by our own process. */
async function ownerOfNew(
  directory: string,
): Promise<{ readonly uid: number; readonly writable: boolean }> {
  const probe = join(directory, temporaryFile());
  try {
    const file = await open(
      probe,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      await file.write('.');
      return { uid: (await file.stat()).uid, writable: true };
    } finally {
      await file.close();
      await rm(probe, { force: true });
    }
  } catch (thrown) {
    if (!isFull(thrown)) throw thrown;
    return { uid: (await stat('/proc/self')).uid, writable: false };
  }
}

/** What others could put into a directory is never believed: narrowing it comes too late. */
async function assertNotPlanted(path: string, mode: number): Promise<void> {
  if ((mode & 0o022) === 0) return;
  const names = await readdir(path);
  if (names.length === 0) return;
  throw new PkiError(
    'STATE_UNUSABLE',
    `others may write into the directory ${path} (mode ${(mode & 0o7777).toString(8)}), so ` +
      'that what is in it may be theirs',
    {
      detail: { files: names.length },
      next: 'Find out who could write there. Then empty the directory, "chmod 700" it, and let the agent attest again.',
    },
  );
}

/**
 * Replaces a file so that after a crash at any instant either the old or the new content stands
 * there, whole: temporary file (0600, new) → fsync → rename → fsync of the directory.
 */
export async function replaceFile(
  path: string,
  content: string | AsyncIterable<string> | Iterable<string>,
): Promise<void> {
  const temporary = join(dirname(path), temporaryFile());
  try {
    const file = await open(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      if (typeof content === 'string') await file.writeFile(content);
      else for await (const part of content) await file.write(part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (thrown) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new PkiError(
      'STATE_UNUSABLE',
      `${path} can not be written: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncDirectory(dirname(path));
  } catch (thrown) {
    throw new PkiError(
      'STATE_UNUSABLE',
      `${path} can not be removed: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

/**
 * The text of a file that must be private; undefined if it is not there. Throws STATE_UNUSABLE, as
 * `openPrivateFile` does.
 */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  const file = await openPrivateFile(path);
  try {
    return await file?.readFile('utf8');
  } finally {
    await file?.close();
  }
}

/**
 * Opens a plain file that belongs to the owner of its directory and is closed to others, for
 * reading; undefined if it is not there. Never waits: a FIFO without a writer would hold the reader
 * for ever. Throws STATE_UNUSABLE.
 */
export async function openPrivateFile(path: string): Promise<FileHandle | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let file: FileHandle;
  try {
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new PkiError('STATE_UNUSABLE', `${path} can not be read: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
  try {
    assertPrivate(path, await file.stat(), (await lstat(dirname(path))).uid);
    return file;
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
}

function assertPrivate(path: string, file: Stats, owner: number): void {
  if (!file.isFile()) throw new PkiError('STATE_UNUSABLE', `${path} is no plain file`);
  if (file.uid !== owner)
    throw new PkiError(
      'STATE_UNUSABLE',
      `${path} belongs to user ${file.uid}, its directory to user ${owner}: somebody else may have put it there`,
      { next: 'Find out who made it; then remove it, and let the agent attest again.' },
    );
  if ((file.mode & 0o077) !== 0)
    throw new PkiError(
      'STATE_UNUSABLE',
      `${path} is open to others (mode ${(file.mode & 0o777).toString(8)}); its key may be known`,
      { next: 'Find out who could read it; then "chmod 600" it, or remove it and attest again.' },
    );
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const temporaryFile = (): string => `.${randomBytes(8).toString('hex')}.tmp`;

import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { PkiError } from '../../src/common/errors/index.ts';

const temporaryName = /^\.[0-9a-f]{16}\.tmp$/;

/**
 * Makes a directory that only its owner, this process, can enter, and clears what a crash left
 * behind in it. Throws STATE_UNUSABLE.
 */
export async function privateDirectory(path: string): Promise<void> {
  await ownDirectory(path);
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

/** The same, with everything left in it as it is. */
export async function ownDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const found = await lstat(path);
    if (!found.isDirectory()) throw new Error('it is no directory');
    // whoever owns it can put another bundle in, whatever the modes say; the owner of a new file is
    // who we are
    const probe = join(path, temporaryFile());
    const file = await open(
      probe,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    const { uid } = await file.stat().finally(() => file.close());
    if (uid !== found.uid)
      throw new Error(`it belongs to user ${found.uid}, the agent is user ${uid}`);
    // a directory made by hand or by a package is narrowed, never used as it was
    if ((found.mode & 0o077) !== 0) await chmod(path, 0o700);
    await rm(probe, { force: true });
  } catch (thrown) {
    throw new PkiError(
      'STATE_UNUSABLE',
      `the directory ${path} can not be used: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
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
 * The text of a file that must be private: owned by us and closed to others, no link; undefined if
 * it is not there. Throws STATE_UNUSABLE.
 */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new PkiError('STATE_UNUSABLE', `${path} can not be read: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new PkiError('STATE_UNUSABLE', `${path} is no plain file`);
    if ((found.mode & 0o077) !== 0)
      throw new PkiError(
        'STATE_UNUSABLE',
        `${path} is open to others (mode ${(found.mode & 0o777).toString(8)}); its key may be known`,
        { next: 'Find out who could read it; then "chmod 600" it, or remove it and attest again.' },
      );
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
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

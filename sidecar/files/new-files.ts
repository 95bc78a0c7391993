import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import type { FileOperations } from './file-operations.ts';
import { secretKinds, type SetFile } from './set-files.ts';
import { manifestName } from './set-manifest.ts';
import { Unwritable } from './unwritable.ts';

/** As it is to be on disk. */
export interface Ownership {
  /** Of the agent, to whom directories and the manifest belong. */
  readonly user: EffectiveUser;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly keyMode: number;
  readonly directoryMode: number;
}

const { O_WRONLY, O_RDONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY } = constants;

/**
 * Makes the files of a set, all empty, with their owner and mode; then writes and syncs each. So an
 * owner that can not be given is known before any content is there. The manifest comes last.
 */
export async function newFiles(
  operations: FileOperations,
  directory: string,
  { files, manifest }: { readonly files: readonly SetFile[]; readonly manifest: string },
  ownership: Ownership,
): Promise<void> {
  const { user, uid, gid, mode, keyMode } = ownership;
  const opened: (readonly [FileHandle, Buffer])[] = [];
  try {
    for (const { kind, name, content } of files) {
      const handle = await create(operations, join(directory, name));
      opened.push([handle, content]);
      await own(handle, { uid, gid, mode: secretKinds.has(kind) ? keyMode : mode });
    }
    const last = await create(operations, join(directory, manifestName));
    opened.push([last, Buffer.from(manifest)]);
    await own(last, { uid: user.uid, gid, mode });
    for (const [handle, content] of opened) {
      await handle.writeFile(content);
      await handle.sync();
    }
  } finally {
    await Promise.all(opened.map(([handle]) => handle.close()));
  }
}

const create = (operations: FileOperations, path: string): Promise<FileHandle> =>
  operations.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);

interface Wanted {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** The mode first: a file that was given away can be changed by its new owner alone. */
async function own(handle: FileHandle, { uid, gid, mode }: Wanted): Promise<void> {
  const found = await handle.stat();
  if ((found.mode & 0o7777) !== mode) await handle.chmod(mode);
  if (found.uid === uid && found.gid === gid) return;
  try {
    await handle.chown(uid, gid);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EPERM') throw thrown;
    throw new Unwritable(
      `the agent may not give files to user ${uid} and group ${gid}`,
      'Run the agent as root or with CAP_CHOWN. Or leave out owner, name a group that the user of ' +
        'the agent is a member of, and let the server read by that group.',
    );
  }
}

/** Makes a directory that belongs to the agent, or corrects group and mode of one that is there. */
export async function prepareDirectory(
  operations: FileOperations,
  path: string,
  { user, gid, directoryMode }: Ownership,
): Promise<void> {
  try {
    await operations.mkdir(path, { mode: 0o700 });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
  }
  const handle = await operations.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    const found = await handle.stat();
    if (found.uid !== user.uid)
      throw new Unwritable(
        `${path} belongs to user ${found.uid}, the agent is user ${user.uid}`,
        `Give it to the agent: chown -R ${user.uid} ${path}`,
      );
    await own(handle, { uid: user.uid, gid, mode: directoryMode });
  } finally {
    await handle.close();
  }
}

export async function syncDirectory(operations: FileOperations, path: string): Promise<void> {
  const handle = await operations.open(path, O_RDONLY | O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes a directory of files, and nothing that a symbolic link in it leads to. */
export async function removeTree(operations: FileOperations, path: string): Promise<void> {
  try {
    for (const entry of await operations.readdir(path, { withFileTypes: true })) {
      if (entry.isDirectory()) await removeTree(operations, join(path, entry.name));
      else await operations.unlink(join(path, entry.name));
    }
    await operations.rmdir(path);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
  }
}

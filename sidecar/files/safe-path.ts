import { dirname, join, resolve } from 'node:path';
import type { Stats } from 'node:fs';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import type { FileOperations } from './file-operations.ts';
import { Unwritable } from './unwritable.ts';

const maximumLinks = 20;
const sticky = 0o1000;
const writableByOthers = 0o022;

/**
 * Walks from the root to a directory, through symbolic links, and refuses a way on which anybody but
 * root and the agent could put something else in its place. In a directory with the sticky bit that
 * everybody may write (`/tmp`) others can not replace what belongs to root or the agent; the last
 * directory may not be such a one, since others could make names in it. Throws Unwritable, or the
 * error of lstat(2).
 */
export async function expectSafe(
  path: string,
  user: EffectiveUser,
  files: Pick<FileOperations, 'lstat' | 'readlink'>,
): Promise<void> {
  const left = partsOf(resolve(path));
  let at = '/';
  let links = 0;
  assertDirectory(at, await files.lstat(at), user, left.length === 0);
  while (left.length > 0) {
    const next = join(at, left.shift() as string);
    const found = await files.lstat(next);
    if (!found.isSymbolicLink()) {
      assertDirectory(next, found, user, left.length === 0);
      at = next;
      continue;
    }
    assertOwner(next, found, user);
    links += 1;
    if (links > maximumLinks) throw new Unwritable(`${path} has too many symbolic links`);
    left.unshift(...partsOf(resolve(dirname(next), await files.readlink(next))));
    at = '/';
  }
}

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '');

function assertDirectory(path: string, found: Stats, user: EffectiveUser, last: boolean): void {
  if (!found.isDirectory()) throw new Unwritable(`${path} is no directory`);
  assertOwner(path, found, user);
  if ((found.mode & writableByOthers) === 0) return;
  if (!last && (found.mode & sticky) !== 0) return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  throw new Unwritable(
    `others may write into ${path} (mode ${mode}), and could put another certificate or a link there`,
    `Find out who wrote there. Then "chmod go-w ${path}", or use a directory of the agent.`,
  );
}

function assertOwner(path: string, { uid }: Stats, user: EffectiveUser): void {
  if (uid === 0 || uid === user.uid) return;
  throw new Unwritable(
    `${path} belongs to user ${uid}, who could put something else there; the agent is user ${user.uid}`,
    `Let ${path} belong to root or to the user of the agent. ` +
      'The files of the set can belong to the server: owner and group of the target.',
  );
}

import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import { Unwritable } from './unwritable.ts';

const maximumLinks = 20;
const sticky = 0o1000;
const writableByGroup = 0o020;
const writableByOthers = 0o002;

export interface SafePath {
  readonly path: string;
  readonly kind: 'directory' | 'file';
  /** Whether the group root may write on the way, as on some systems. */
  readonly trustRootGroup: boolean;
}

/**
 * Walks from the root to a directory or file, through symbolic links, and refuses a way on which anybody
 * but root and the agent could put something else in its place. In a directory with the sticky bit that
 * everybody may write (`/tmp`) others can not replace what belongs to root or the agent; the path
 * itself may not be such a directory, since others could make names in it. Throws Unwritable, or the
 * error of lstat(2).
 */
export function expectSafe(wanted: SafePath, user: EffectiveUser): void {
  walk(wanted.path, user, (at, found, last) => assertClosed(at, found, user, { ...wanted, last }));
}

/**
 * The same for a directory in which a server makes its socket: it may belong to the user of the server,
 * who can make another socket there, but not to everybody. Throws Unwritable, or the error of lstat(2).
 */
export function expectServersOwn(directory: string, user: EffectiveUser): void {
  walk(directory, user, (at, found, last) => {
    if (!found.isDirectory()) throw new Unwritable(`${at} is no directory`);
    const replaceable = last || (found.mode & sticky) === 0;
    if ((found.mode & writableByOthers) !== 0 && replaceable)
      throw new Unwritable(`everybody may write into ${at}, and could listen there in its place`);
  });
}

function walk(
  path: string,
  user: EffectiveUser,
  check: (at: string, found: Stats, last: boolean) => void,
): void {
  const left = partsOf(resolve(path));
  let at = '/';
  let links = 0;
  check(at, lstatSync(at), left.length === 0);
  while (left.length > 0) {
    const next = join(at, left.shift() as string);
    const found = lstatSync(next);
    if (!found.isSymbolicLink()) {
      check(next, found, left.length === 0);
      at = next;
      continue;
    }
    assertOwner(next, found, user);
    links += 1;
    if (links > maximumLinks) throw new Unwritable(`${path} has too many symbolic links`);
    left.unshift(...partsOf(resolve(dirname(next), readlinkSync(next))));
    at = '/';
  }
}

const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '');

function assertClosed(
  path: string,
  found: Stats,
  user: EffectiveUser,
  { last, kind, trustRootGroup }: SafePath & { readonly last: boolean },
): void {
  const isFile = last && kind === 'file';
  if (!(isFile ? found.isFile() : found.isDirectory()))
    throw new Unwritable(`${path} is no ${isFile ? 'plain file' : 'directory'}`);
  assertOwner(path, found, user);
  const group = trustRootGroup && found.gid === 0 ? 0 : writableByGroup;
  if ((found.mode & (group | writableByOthers)) === 0) return;
  if (!last && (found.mode & sticky) !== 0) return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  throw new Unwritable(
    isFile
      ? `others may write ${path} (mode ${mode})`
      : `others may write into ${path} (mode ${mode}), and could put something else there`,
    `Find out who wrote there. Then "chmod go-w ${path}", or use a directory of the agent.`,
  );
}

function assertOwner(path: string, { uid }: Stats, user: EffectiveUser): void {
  if (uid === 0 || uid === user.uid) return;
  throw new Unwritable(
    `${path} belongs to user ${uid}, who could put something else there; the agent is user ${user.uid}`,
    `Let ${path} belong to root or to the user of the agent. ` +
      'The files of a set can belong to the server: owner and group of the target.',
  );
}

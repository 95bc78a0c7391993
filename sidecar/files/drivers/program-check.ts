import { accessSync, constants, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { PkiError } from '../../../src/common/errors/index.ts';

const writableByGroup = 0o020;
const writableByOthers = 0o002;
const sticky = 0o1000;

/**
 * A program that is about to run with the rights of the agent: its path is absolute, and nobody but
 * root and the agent's user can put another program in its place. Throws DRIVER_FAILED.
 */
export function checkProgram(path: string): void {
  if (!isAbsolute(path)) throw unfit(path, 'its path is not absolute');
  let real: string;
  try {
    real = realpathSync(path);
    if (!statSync(real).isFile()) throw unfit(path, 'it is no file');
    accessSync(real, constants.X_OK);
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    throw unfit(path, `it can not be run (${(thrown as NodeJS.ErrnoException).code ?? thrown})`);
  }
  // the path as written leads through links, which others could change as well
  for (const way of new Set([path, real])) checkWay(path, way);
}

function checkWay(program: string, way: string): void {
  const self = effectiveUser();
  for (let at = way; ; at = dirname(at)) {
    const { uid, gid, mode } = statSync(at);
    if (uid !== 0 && uid !== self) throw unfit(program, `${at} belongs to user ${uid}`);
    // in a folder with the sticky bit nobody replaces what belongs to another
    const closed = at !== way && (mode & sticky) !== 0;
    if (!closed && (mode & writableByOthers) !== 0)
      throw unfit(program, `${at} is writable by everybody`);
    if (!closed && gid !== 0 && (mode & writableByGroup) !== 0)
      throw unfit(program, `${at} is writable by group ${gid}`);
    if (at === '/') return;
  }
}

const effectiveUser = (): number =>
  Number(/^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

const unfit = (path: string, why: string): PkiError =>
  new PkiError('DRIVER_FAILED', `${path} is not run: ${why}`, {
    next: 'Name a program by its absolute path. It and all folders above must belong to root or to the user of the agent, and nobody else may write there.',
  });

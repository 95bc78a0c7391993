import { accessSync, constants } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { PkiError } from '../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../src/common/unix/effective-user.ts';
import { expectSafe, expectServersOwn } from '../safe-path.ts';
import { Unwritable } from '../unwritable.ts';

/**
 * A program that is about to run with the rights of the agent: its path is absolute, and nobody but
 * root and the agent's user can put another program in its place, or change a link that leads to it.
 * Throws DRIVER_FAILED.
 */
export function checkProgram(path: string): void {
  if (!isAbsolute(path)) throw unfit(path, 'its path is not absolute');
  try {
    expectSafe({ path, kind: 'file', trustRootGroup: true }, effectiveUser());
    accessSync(path, constants.X_OK);
  } catch (thrown) {
    if (thrown instanceof Unwritable) throw unfit(path, thrown.message);
    throw unfit(path, `it can not be run (${(thrown as NodeJS.ErrnoException).code ?? thrown})`);
  }
}

const unfit = (path: string, why: string): PkiError =>
  new PkiError('DRIVER_FAILED', `${path} is not run: ${why}`, {
    next: 'Name a program by its absolute path. It and all folders above must belong to root or to the user of the agent, and nobody else may write there.',
  });

/**
 * A configuration that a program reads while it runs with the rights of the agent. It can have modules
 * or scripts loaded, so that it is held to the same rules as the program. Throws DRIVER_FAILED.
 */
export function checkConfiguration(path: string): void {
  try {
    expectSafe({ path, kind: 'file', trustRootGroup: true }, effectiveUser());
  } catch (thrown) {
    const why =
      thrown instanceof Unwritable
        ? thrown.message
        : `it can not be read (${(thrown as NodeJS.ErrnoException).code ?? thrown})`;
    throw new PkiError('DRIVER_FAILED', `${path} is not believed: ${why}`, {
      next: 'A configuration can have programs loaded. It and all folders above must belong to root or to the user of the agent, and nobody else may write there.',
    });
  }
}

/**
 * The socket of a server that gets the private key or a password. Only the server, root and the agent could listen
 * there in its place. Where there is no directory, nobody listens. Throws DRIVER_FAILED, or the error
 * of lstat(2).
 */
export function checkSocket(path: string): void {
  try {
    expectServersOwn(dirname(path), effectiveUser());
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return;
    if (!(thrown instanceof Unwritable)) throw thrown;
    throw new PkiError('DRIVER_FAILED', `nothing secret is sent to ${path}: ${thrown.message}`, {
      next: 'Let the server make its socket in a directory of its own, such as /run/haproxy.',
    });
  }
}

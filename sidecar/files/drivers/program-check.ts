import { accessSync, constants } from 'node:fs';
import { isAbsolute } from 'node:path';
import { PkiError } from '../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../src/common/unix/effective-user.ts';
import { expectSafe } from '../safe-path.ts';
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

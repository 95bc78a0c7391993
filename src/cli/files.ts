import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { PkiError } from '../common/errors/index.ts';

/**
 * Writes a file that appears whole and with its mode: a new one is made beside it and takes its place, so that a key is never
 * readable by others because an older file of that name was, and never goes where a link points. Throws INVALID_REQUEST.
 */
export function writeWhole(path: string, text: string, mode: number): void {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { mode, flag: 'wx' });
    renameSync(temporary, path);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw new PkiError('INVALID_REQUEST', `${path} can not be written (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`, { next: 'Give an existing folder that you may write to.' });
  }
}

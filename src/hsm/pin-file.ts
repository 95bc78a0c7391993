import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { PkiError } from '../common/errors/index.ts';
import type { Logger } from '../common/runtime/index.ts';

/**
 * A user who can write the file can make the server use up the tries of the PIN. A user who can
 * read it can sign wherever the token is reachable.
 */
const writableByOthers = 0o022;
const readableByAll = 0o004;

/**
 * Reads the PIN of a token from its file, without the line end. A file that everybody may read is
 * accepted with a warning: mounted secrets often have that mode, in a folder that nobody else can
 * enter.
 *
 * @throws PkiError HSM_PIN_MISSING, HSM_PIN_FILE_OPEN
 */
export function readPinFile(path: string, tokenLabel: string, logger: Logger): string {
  let pin: string;
  let mode: number;
  try {
    const fd = openSync(path, 'r');
    try {
      // the mode of the opened file, which may differ from what has the name a moment later
      ({ mode } = fstatSync(fd));
      pin = readFileSync(fd, 'utf8').replace(/\r?\n$/, '');
    } finally {
      closeSync(fd);
    }
  } catch (thrown) {
    throw new PkiError(
      'HSM_PIN_MISSING',
      `the PIN file of token ${tokenLabel} can not be read: ${path} ` +
        `(${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { cause: thrown, grade: 'fatal' },
    );
  }
  const bits = (mode & 0o777).toString(8).padStart(4, '0');
  if ((mode & writableByOthers) !== 0)
    throw new PkiError(
      'HSM_PIN_FILE_OPEN',
      `the PIN file of token ${tokenLabel} may be written by others than its owner: ${path} has mode ${bits}`,
      { grade: 'fatal' },
    );
  if (pin === '')
    throw new PkiError('HSM_PIN_MISSING', `the PIN file of token ${tokenLabel} is empty: ${path}`, {
      grade: 'fatal',
    });
  if ((mode & readableByAll) !== 0)
    logger.warn(
      { path, mode: bits, token: tokenLabel },
      'every user of this machine may read the PIN file: set its mode to 0600, and change ' +
        'the PIN if others could enter its folder',
    );
  return pin;
}

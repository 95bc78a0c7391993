import { open } from 'node:fs/promises';
import { PkiError } from '../../src/common/errors/index.ts';
import { permissionError } from '../../src/common/unix/path-permission.ts';
import type { Logger } from '../../src/common/runtime/index.ts';

const writableByOthers = 0o022;
const readableByAll = 0o004;

/** A file without secrets. Throws NODE_CREDENTIAL_MISSING. */
export const readPublic = async (path: string): Promise<string> => (await readWithMode(path)).text;

/**
 * A secret that everybody may read or change is used, with a warning, as the PIN files of the
 * server are. Throws NODE_CREDENTIAL_MISSING.
 */
export async function readSecret(
  path: string,
  told: { readonly what: string; readonly next: string },
  logger: Logger,
): Promise<string> {
  const { text, mode } = await readWithMode(path);
  const bits = (mode & 0o777).toString(8).padStart(4, '0');
  if ((mode & readableByAll) !== 0)
    logger.warn(
      { path, mode: bits },
      `every user of this machine may read the file with the ${told.what}: ${told.next}`,
    );
  if ((mode & writableByOthers) !== 0)
    logger.warn(
      { path, mode: bits },
      `others than its owner may write the file with the ${told.what}: chmod 0600 it, and ` +
        'see that it still holds what you put there',
    );
  return text;
}

async function readWithMode(
  path: string,
): Promise<{ readonly text: string; readonly mode: number }> {
  try {
    await using file = await open(path, 'r');
    // of what was opened, not of what has the name a moment later
    const { mode } = await file.stat();
    return { text: await file.readFile('utf8'), mode };
  } catch (thrown) {
    throw (
      permissionError(thrown) ??
      missingCredential(
        `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`,
      )
    );
  }
}

export const missingCredential = (message: string): PkiError =>
  new PkiError('NODE_CREDENTIAL_MISSING', message);

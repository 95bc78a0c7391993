import { randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PkiError } from '../common/errors/index.ts';
import { csrFromPem } from '../common/x509/index.ts';

/**
 * Writes a file. It appears complete and with its mode, because a temporary file replaces it. So
 * the mode of an older file never exposes a key, and a key is never written through a link. Throws
 * INVALID_REQUEST.
 */
export function writeWhole(path: string, text: string, mode: number): void {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { mode, flag: 'wx' });
    renameSync(temporary, path);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw cannotWrite(path, thrown, 'Give an existing folder that you may write to.');
  }
}

/**
 * Writes a file that does not exist yet. Throws INVALID_REQUEST, or OUTPUT_FAILED if the disk is
 * full.
 */
export function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o644 });
  } catch (thrown) {
    throw cannotWrite(path, thrown, newFileAdvice);
  }
}

/** Called before a signature whose only copy goes into this file. Throws INVALID_REQUEST. */
export function expectNewFile(path: string): void {
  if (existsSync(path)) throw cannotWrite(path, { code: 'EEXIST' }, newFileAdvice);
  expectFolder(dirname(path), newFileAdvice);
}

/**
 * Called before something is made whose only copy goes into this folder. Throws INVALID_REQUEST.
 */
export function expectFolder(
  path: string,
  next = 'Give an existing folder that you may write to.',
): void {
  try {
    if (!statSync(path).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (thrown) {
    throw cannotWrite(path, thrown, next);
  }
}

/**
 * Writes a stream to a new file that only its owner may read. The file gets its name when it is
 * complete and on disk, so that a part never passes for the whole. Returns the bytes written.
 * Throws INVALID_REQUEST, OUTPUT_FAILED, CANCELLED, or what the stream throws.
 */
export async function writeStream(
  path: string,
  signal: AbortSignal,
  stream: (write: (data: Buffer) => Promise<void>) => Promise<void>,
): Promise<number> {
  expectNewFile(path);
  const part = `${path}.${randomBytes(8).toString('hex')}.part`;
  const failed = (thrown: unknown): never => {
    throw cannotWrite(path, thrown, newFileAdvice);
  };
  const file = await open(part, 'wx', 0o600).catch(failed);
  let bytes = 0;
  try {
    await stream(async (data) => {
      // not write(), which may write only a part, for example on a full disk
      await file.writeFile(data).catch(failed);
      bytes += data.length;
    });
    if (signal.aborted) throw new PkiError('CANCELLED', `${path} was not completed and is removed`);
    await file.sync().catch(failed);
    nameNew(part, path);
  } finally {
    await file.close();
    rmSync(part, { force: true });
  }
  return bytes;
}

/**
 * Names the file, and replaces no file that appeared meanwhile. On file systems without links the
 * check precedes the rename.
 */
function nameNew(part: string, path: string): void {
  try {
    linkSync(part, path);
  } catch (thrown) {
    if (
      !['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'].includes(
        (thrown as NodeJS.ErrnoException).code ?? '',
      )
    )
      throw cannotWrite(path, thrown, newFileAdvice);
    expectNewFile(path);
    renameSync(part, path);
  }
}

const newFileAdvice = 'Name a file that does not exist yet, in a folder that you may write to.';

function cannotWrite(path: string, thrown: unknown, next: string): PkiError {
  const code = (thrown as NodeJS.ErrnoException).code ?? 'error';
  if (['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG'].includes(code))
    return new PkiError('OUTPUT_FAILED', `${path} can not be written completely (${code})`, {
      cause: thrown,
    });
  return new PkiError('INVALID_REQUEST', `${path} can not be written (${code})`, { next });
}

export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { next: 'Check the path and its permissions.' },
    );
  }
}

/** The only certificate request in a PEM file. Throws CSR_MALFORMED. */
export function readCsr(path: string): Buffer {
  const csr = csrFromPem(readBytes(path).toString('utf8'));
  if (!csr.ok) throw new PkiError('CSR_MALFORMED', `${path}: ${csr.error.message}`);
  return csr.value;
}

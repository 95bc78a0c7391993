import { createPrivateKey } from 'node:crypto';
import { open } from 'node:fs/promises';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Logger } from '../../src/common/runtime/index.ts';
import { certificatesFromPem } from '../../src/common/x509/index.ts';
import type { NodeCredential } from './attest.ts';

const writableByOthers = 0o022;
const readableByAll = 0o004;

export interface CredentialFiles {
  readonly joinToken?: string | undefined;
  readonly joinTokenPath?: string | undefined;
  readonly certificatePath?: string | undefined;
  readonly keyPath?: string | undefined;
}

/**
 * What the operator gave this node to prove itself with. A secret that everybody may read or change
 * is used, with a warning, as the PIN files of the server are. Throws NODE_CREDENTIAL_MISSING.
 */
export async function configuredCredential(
  files: CredentialFiles,
  logger: Logger,
): Promise<NodeCredential> {
  if (files.certificatePath !== undefined && files.keyPath !== undefined) {
    const chain = certificatesFromPem(await read(files.certificatePath));
    if (!chain.ok) throw missing(`${files.certificatePath}: ${chain.error.message}`);
    const keyPem = await readSecret(
      files.keyPath,
      'key of the node certificate',
      'chmod 0600 it, and have a new certificate made if others could enter its folder',
      logger,
    );
    try {
      return { kind: 'x509pop', chainDer: chain.value, privateKey: createPrivateKey(keyPem) };
    } catch {
      // the library's message may quote the file
      throw missing(`${files.keyPath} holds no private key in PEM`);
    }
  }
  const token =
    files.joinTokenPath === undefined
      ? files.joinToken
      : await readSecret(
          files.joinTokenPath,
          'join token',
          'chmod 0600 it; if others could enter its folder, see with "meshca agent list" that this node joined and nobody else',
          logger,
        );
  const trimmed = token?.trim() ?? '';
  if (trimmed === '') throw missing('no join token and no node certificate are configured');
  return { kind: 'join-token', token: trimmed };
}

const read = async (path: string): Promise<string> => (await readWithMode(path)).text;

async function readSecret(
  path: string,
  what: string,
  next: string,
  logger: Logger,
): Promise<string> {
  const { text, mode } = await readWithMode(path);
  const bits = (mode & 0o777).toString(8).padStart(4, '0');
  if ((mode & readableByAll) !== 0)
    logger.warn(
      { path, mode: bits },
      `every user of this machine may read the file with the ${what}: ${next}`,
    );
  if ((mode & writableByOthers) !== 0)
    logger.warn(
      { path, mode: bits },
      `others than its owner may write the file with the ${what}: chmod 0600 it, and see that it still holds what you put there`,
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
    throw missing(
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`,
    );
  }
}

const missing = (message: string): PkiError => new PkiError('NODE_CREDENTIAL_MISSING', message);

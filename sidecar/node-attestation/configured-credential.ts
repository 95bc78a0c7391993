import { createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { PkiError } from '../../src/common/errors/index.ts';
import { certificatesFromPem } from '../../src/common/x509/index.ts';
import type { NodeCredential } from './attest.ts';

export interface CredentialFiles {
  readonly joinToken?: string | undefined;
  readonly joinTokenPath?: string | undefined;
  readonly certificatePath?: string | undefined;
  readonly keyPath?: string | undefined;
}

/** What the operator gave this node to prove itself with. Throws NODE_CREDENTIAL_MISSING. */
export async function configuredCredential(files: CredentialFiles): Promise<NodeCredential> {
  if (files.certificatePath !== undefined && files.keyPath !== undefined) {
    const chain = certificatesFromPem(await read(files.certificatePath));
    if (!chain.ok) throw missing(`${files.certificatePath}: ${chain.error.message}`);
    const keyPem = await read(files.keyPath);
    try {
      return { kind: 'x509pop', chainDer: chain.value, privateKey: createPrivateKey(keyPem) };
    } catch {
      // the library's message may quote the file
      throw missing(`${files.keyPath} holds no private key in PEM`);
    }
  }
  const token = files.joinTokenPath === undefined ? files.joinToken : await read(files.joinTokenPath);
  const trimmed = token?.trim() ?? '';
  if (trimmed === '') throw missing('no join token and no node certificate are configured');
  return { kind: 'join-token', token: trimmed };
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    throw missing(`${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`);
  }
}

const missing = (message: string): PkiError => new PkiError('NODE_CREDENTIAL_MISSING', message);

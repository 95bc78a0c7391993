import { createPublicKey } from 'node:crypto';
import { PkiError } from '../common/errors/index.ts';
import { DerReader, sha256Hex, spkiOf, tag } from '../common/x509/index.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { readBytes, readCsr } from './files.ts';
import { serialOf } from './object-ids.ts';

/** How a command names a public key. */
export interface KeyFlags {
  readonly certificate?: string;
  readonly spki?: string;
  readonly csr?: string;
  readonly publicKey?: string;
}

/** What the server is told of a key: one of both, the other is empty. */
export interface KeyName {
  readonly publicKeySha256: string;
  readonly serial: string;
}

/** Throws INVALID_REQUEST unless exactly one flag names a key. */
export async function keyName(
  context: CliContext,
  options: KeyFlags & GlobalOptions,
): Promise<KeyName> {
  const { certificate, spki, csr, publicKey } = options;
  const given = [certificate, spki, csr, publicKey].filter((flag) => flag !== undefined);
  if (given.length !== 1)
    throw new PkiError(
      'INVALID_REQUEST',
      'name the key by one of --certificate, --spki, --csr and --public-key',
    );
  if (certificate !== undefined)
    return { publicKeySha256: '', serial: await serialOf(context, options, certificate) };
  return { publicKeySha256: keyDigest({ spki, csr, publicKey }) as string, serial: '' };
}

/** Undefined: no flag names a key. */
export function keyDigest({
  spki,
  csr,
  publicKey,
}: {
  readonly spki?: string | undefined;
  readonly csr?: string | undefined;
  readonly publicKey?: string | undefined;
}): string | undefined {
  if (spki !== undefined) return digestOf(spki);
  if (csr !== undefined) return sha256Hex(spkiOfCsr(csr));
  return publicKey === undefined ? undefined : sha256Hex(spkiOfPem(publicKey));
}

function digestOf(text: string): string {
  const digest = text.toLowerCase().replaceAll(':', '');
  if (!/^[0-9a-f]{64}$/.test(digest))
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text.slice(0, 80))} is no SHA-256`, {
      next: 'Give the SHA-256 of the SubjectPublicKeyInfo in hex, as "meshca certificate show" prints it.',
    });
  return digest;
}

/** The subject's key of a certificate request (RFC 2986, section 4.1). */
function spkiOfCsr(path: string): Buffer {
  try {
    const info = new DerReader(readCsr(path)).sequence('request').sequence('the request');
    info.smallInteger('version');
    info.element(tag.sequence, 'subject');
    return info.element(tag.sequence, 'subjectPKInfo');
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    throw new PkiError('CSR_MALFORMED', `${path} is no certificate request`, { cause: thrown });
  }
}

/** Of a public key, a private key or a certificate. A private key does not leave this process. */
function spkiOfPem(path: string): Buffer {
  const pem = readBytes(path);
  try {
    return spkiOf(createPublicKey(pem));
  } catch (thrown) {
    throw new PkiError('INVALID_REQUEST', `${path} holds no key that can be read`, {
      cause: thrown,
      next: 'Give a PEM file with a public key, a private key without passphrase, or a certificate.',
    });
  }
}

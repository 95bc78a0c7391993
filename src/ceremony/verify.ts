import { readFileSync } from 'node:fs';
import { PkiError, unwrap } from '../common/errors/index.ts';
import {
  certificatesFromPem,
  parseCertificate,
  parseCrl,
  pemDecode,
  pemEncode,
  sha256Hex,
} from '../common/x509/index.ts';
import { verifyTranscript, type Facts } from './transcript.ts';

export interface TranscriptFacts {
  readonly records: readonly Facts[];
  /** SHA-256 of the certificate whose key signed. */
  readonly signer: string;
  /**
   * Whether the caller passed that certificate. Otherwise the signature only proves that the text
   * is complete.
   */
  readonly signerKnown: boolean;
  /** The files that were passed and are in the transcript. */
  readonly files: readonly string[];
}

/**
 * Checks an archived transcript. With `signerPath`: the root in that file signed it. With
 * `filePaths`: the ceremony wrote or read those files.
 *
 * @throws PkiError TRANSCRIPT_INVALID
 */
export function checkTranscript(input: {
  readonly path: string;
  readonly signerPath?: string;
  readonly filePaths: readonly string[];
}): TranscriptFacts {
  const { records, signerDer } = unwrap(verifyTranscript(readText(input.path)));
  const signer = sha256Hex(signerDer);
  if (input.signerPath !== undefined) {
    const certificates = unwrap(certificatesFromPem(readText(input.signerPath)));
    if (!certificates.some((der) => der.equals(signerDer)))
      throw new PkiError(
        'TRANSCRIPT_INVALID',
        `the transcript was signed by the root ${signer}, which is not in ${input.signerPath}`,
        { next: 'Find out whose root that is before you trust the transcript.' },
      );
  }
  const digests = new Set(
    records
      .flatMap((record) => Object.values(record))
      .filter((value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)),
  );
  for (const path of input.filePaths) {
    if (!standsIn(readBytes(path), digests))
      throw new PkiError('TRANSCRIPT_INVALID', `${path} is not in the transcript`, {
        next: 'The file is not from this ceremony, or it was changed afterwards.',
      });
  }
  return { records, signer, signerKnown: input.signerPath !== undefined, files: input.filePaths };
}

/**
 * Whether the ceremony wrote the file, byte for byte, or the file consists only of objects in the
 * transcript: their PEM with its label, or the DER of one.
 */
function standsIn(bytes: Buffer, digests: ReadonlySet<unknown>): boolean {
  if (digests.has(sha256Hex(bytes))) return true;
  const text = bytes.toString('utf8');
  const blocks = pemDecode(text);
  return (
    blocks.ok &&
    blocks.value.length > 0 &&
    blocks.value.every(({ label, der }) => digests.has(sha256Hex(der)) && label === labelOf(der)) &&
    text === blocks.value.map(({ label, der }) => pemEncode(label, der)).join('')
  );
}

const labelOf = (der: Buffer): string =>
  parseCertificate(der).ok ? 'CERTIFICATE' : parseCrl(der).ok ? 'X509 CRL' : 'CERTIFICATE REQUEST';

const readText = (path: string): string => readBytes(path).toString('utf8');

function readBytes(path: string): Buffer {
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

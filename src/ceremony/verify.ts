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
   * Whether that certificate was given and is the same; without it the signature proves no more
   * than that the text is whole.
   */
  readonly signerKnown: boolean;
  /** Files that stand in it, of those given. */
  readonly files: readonly string[];
}

/**
 * Checks an archived transcript; with `signerPath` that the root of that file signed it, with
 * `filePaths` that those files are what the ceremony made or was given. Throws TRANSCRIPT_INVALID.
 */
export function checkTranscript(input: {
  readonly path: string;
  readonly signerPath?: string;
  readonly filePaths: readonly string[];
}): TranscriptFacts {
  const { records, signerDer } = unwrap(verifyTranscript(readText(input.path)));
  const signer = sha256Hex(signerDer);
  if (input.signerPath !== undefined) {
    const given = unwrap(certificatesFromPem(readText(input.signerPath)));
    if (!given.some((der) => der.equals(signerDer)))
      throw new PkiError(
        'TRANSCRIPT_INVALID',
        `the transcript was signed by the root ${signer}, which is not in ${input.signerPath}`,
        { next: 'Find out whose root that is before you believe anything in it.' },
      );
  }
  const digests = new Set(
    records
      .flatMap((record) => Object.values(record))
      .filter((value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)),
  );
  for (const path of input.filePaths) {
    if (!standsIn(readBytes(path), digests))
      throw new PkiError('TRANSCRIPT_INVALID', `${path} does not stand in the transcript`, {
        next: 'It is another file than the one of this ceremony, or something in it was added or changed.',
      });
  }
  return { records, signer, signerKnown: input.signerPath !== undefined, files: input.filePaths };
}

/**
 * Whether the file is one that the ceremony wrote, byte for byte, or consists of objects that stand
 * in the transcript and of nothing else: their PEM under its label, or the DER of one.
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

import { readFileSync } from 'node:fs';
import { PkiError, unwrap } from '../common/errors/index.ts';
import { certificatesFromPem, pemDecode, sha256Hex } from '../common/x509/index.ts';
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
    if (!digestsOf(path).some((digest) => digests.has(digest)))
      throw new PkiError('TRANSCRIPT_INVALID', `${path} does not stand in the transcript`, {
        next: 'It is another file than the one of this ceremony.',
      });
  }
  return { records, signer, signerKnown: input.signerPath !== undefined, files: input.filePaths };
}

/** Of the file itself and of the first object in it, if it is PEM. */
function digestsOf(path: string): readonly string[] {
  const text = readText(path);
  const blocks = pemDecode(text);
  const first = blocks.ok ? blocks.value[0] : undefined;
  return [sha256Hex(Buffer.from(text)), ...(first === undefined ? [] : [sha256Hex(first.der)])];
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { next: 'Check the path and its permissions.' },
    );
  }
}

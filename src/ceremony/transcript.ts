import { createPublicKey, verify } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs';
import { fail, ok, PkiError, unwrap, type Result } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import {
  keyTypeOfSpki,
  parseCertificate,
  sha256Hex,
  signatureAlgorithmFor,
} from '../common/x509/index.ts';

/**
 * The format of a transcript. It is text: this line, then one JSON object per line (keys sorted;
 * `n` counts up; `prev` is the SHA-256 of all bytes before the line). The last object has the kind
 * `end`. Then follow `signature` and the base64 of a signature over all bytes before that line. It
 * can not be mistaken for a certificate or CRL, which begin with the octet 0x30.
 */
const header = 'meshca ceremony transcript 1\n';
const signaturePrefix = 'signature ';

type Fact = string | number | boolean | null | readonly Fact[] | { readonly [key: string]: Fact };
export type Facts = Readonly<Record<string, Fact>>;

/**
 * Owner of the transcript's file during the ceremony. Each record is on disk before the act that
 * follows it.
 */
export class TranscriptWriter {
  readonly #descriptor: number;
  readonly #clock: Clock;
  #text = header;
  #count = 0;

  /**
   * Creates the file. An existing transcript is never overwritten, because an unfinished one is
   * evidence.
   *
   * @throws PkiError ALREADY_EXISTS
   */
  constructor(path: string, clock: Clock) {
    this.#clock = clock;
    try {
      this.#descriptor = openSync(path, 'wx', 0o644);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'EEXIST')
        throw new PkiError('ALREADY_EXISTS', `the transcript ${path} already exists`, {
          next: 'Archive it, and let the plan name a new file.',
        });
      throw new PkiError(
        'PLAN_INVALID',
        `the transcript ${path} can not be written (${code ?? 'error'})`,
      );
    }
    this.#put(header);
  }

  record(kind: string, facts: Facts): void {
    this.#count += 1;
    const line = `${canonical({ ...facts, n: this.#count, kind, at: new Date(this.#clock.nowMs()).toISOString(), prev: sha256Hex(Buffer.from(this.#text)) })}\n`;
    this.#text += line;
    this.#put(line);
  }

  /** Ends and signs the transcript. */
  async finish(certificateDer: Buffer, sign: (bytes: Buffer) => Promise<Buffer>): Promise<void> {
    this.record('end', {
      records: this.#count + 1,
      signer: sha256Hex(certificateDer),
      signerCertificate: certificateDer.toString('base64'),
    });
    this.#put(`${signaturePrefix}${(await sign(Buffer.from(this.#text))).toString('base64')}\n`);
    this.close();
  }

  /** Called when the ceremony failed. The records stay, without a signature. */
  close(): void {
    closeSync(this.#descriptor);
  }

  #put(text: string): void {
    writeFileSync(this.#descriptor, text);
    fsyncSync(this.#descriptor);
  }
}

export interface VerifiedTranscript {
  readonly records: readonly Facts[];
  /**
   * The certificate whose key signed. The reader of the transcript must know it from another
   * source.
   */
  readonly signerDer: Buffer;
}

/**
 * Checks form, chain and signature. Fails with TRANSCRIPT_INVALID and names the first wrong record.
 */
export function verifyTranscript(text: string): Result<VerifiedTranscript> {
  if (!text.startsWith(header))
    return invalid('it does not begin like a transcript of this version');
  const lines = text.split('\n');
  if (lines.pop() !== '') return invalid('it ends within a line');
  const last = lines.pop() ?? '';
  if (!last.startsWith(signaturePrefix))
    return invalid('it is not signed: the ceremony was not finished, or its end is cut off');
  const records: Facts[] = [];
  let before = header;
  for (const [index, line] of lines.slice(1).entries()) {
    const record = readRecord(line);
    if (record === undefined || canonical(record) !== line)
      return invalid(`record ${index + 1} is not in canonical form`);
    if (record['n'] !== index + 1)
      return invalid(
        `record ${index + 1} is numbered ${JSON.stringify(record['n'])}: records are missing or in another order`,
      );
    if (record['prev'] !== sha256Hex(Buffer.from(before)))
      return invalid(`the text before record ${index + 1} was changed`);
    records.push(record);
    before += `${line}\n`;
  }
  const end = records.at(-1);
  if (
    end?.['kind'] !== 'end' ||
    end['records'] !== records.length ||
    typeof end['signerCertificate'] !== 'string'
  )
    return invalid('the last record is not the end');
  const signerDer = Buffer.from(end['signerCertificate'], 'base64');
  const signer = parseCertificate(signerDer);
  if (!signer.ok || end['signer'] !== sha256Hex(signerDer))
    return invalid('the certificate of the signer is damaged');
  const keyType = keyTypeOfSpki(signer.value.spkiDer);
  if (!keyType.ok) return invalid('the key of the signer is not of a known kind');
  const { hash } = signatureAlgorithmFor(keyType.value);
  const signature = Buffer.from(last.slice(signaturePrefix.length), 'base64');
  if (
    signature.toString('base64') !== last.slice(signaturePrefix.length) ||
    !verify(
      hash,
      Buffer.from(before),
      createPublicKey({ key: signer.value.spkiDer, format: 'der', type: 'spki' }),
      signature,
    )
  )
    return invalid('the signature is wrong');
  return ok({ records, signerDer });
}

const invalid = (why: string): { readonly ok: false; readonly error: PkiError } =>
  fail('TRANSCRIPT_INVALID', `the transcript differs from what was signed: ${why}`);

function readRecord(line: string): Facts | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Facts)
      : undefined;
  } catch {
    return undefined;
  }
}

/** JSON with sorted keys and no spaces. */
function canonical(value: Fact): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item as Fact)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value as Readonly<Record<string, Fact>>).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(',')}}`;
}

/** The facts of a certificate in a transcript. */
export function certificateFacts(der: Buffer): Facts {
  const { serialHex, notBefore, notAfter, subjectKeyId, spkiDer } = unwrap(parseCertificate(der));
  return {
    sha256: sha256Hex(der),
    serial: serialHex,
    notBefore,
    notAfter,
    subjectKeyId: subjectKeyId ?? null,
    publicKeySha256: sha256Hex(spkiDer),
    der: der.toString('base64'),
  };
}

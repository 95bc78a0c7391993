import { PkiError } from '../common/errors/index.ts';
import { derWriter, encodeTime, tag } from '../common/x509/index.ts';
import {
  authorityKeyId,
  extension,
  issuingDistributionPoint,
  signatureAlgorithmDer,
} from './fields.ts';
import type { CrlEntry, CrlInput, CrlReason } from './types.ts';

const { context, der, integer, sequence } = derWriter;

/** RFC 5280 section 5.3.1. */
export const reasonCodes: Readonly<Record<CrlReason, number>> = {
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
};

/**
 * The TBSCertList of a v2 CRL, complete or of one shard (RFC 5280, section 5), with the entries in
 * their given order. An empty list is left out (section 5.1.2.6).
 */
export function buildCrlTbs(input: CrlInput): Buffer {
  if (input.nextUpdate <= input.thisUpdate)
    throw new PkiError('LINT_FAILED', 'a CRL must end after it begins');
  if (input.revoked.some(({ revokedAt }) => revokedAt > input.thisUpdate))
    throw new PkiError('LINT_FAILED', 'an entry of a CRL is later than the CRL');
  if (new Set(input.revoked.map((entry) => entry.serialHex)).size !== input.revoked.length)
    throw new PkiError('LINT_FAILED', 'a serial appears twice in a CRL');
  return sequence(
    integer(1),
    signatureAlgorithmDer(input.issuer.spkiDer),
    input.issuer.subjectDer,
    encodeTime(input.thisUpdate),
    encodeTime(input.nextUpdate),
    ...(input.revoked.length === 0 ? [] : [revokedCertificates(input.revoked)]),
    context(
      0,
      sequence(
        authorityKeyId(input.issuer),
        extension('crlNumber', false, integer(input.number)),
        ...(input.distributionPoint === undefined
          ? []
          : [issuingDistributionPoint(input.distributionPoint)]),
      ),
    ),
  );
}

/** SEQUENCE, serial of at most 20 octets and a sign, Time, and the list with one extension. */
const longestEntry = 2 + 23 + 17 + 20;

/**
 * Writes into one buffer, since lists get long: an object for each element of an entry takes
 * several times as long.
 */
function revokedCertificates(entries: readonly CrlEntry[]): Buffer {
  const out = Buffer.allocUnsafe(entries.length * longestEntry);
  const extensionsOf = new Map<CrlReason | undefined, Buffer>([[undefined, Buffer.alloc(0)]]);
  let revokedAt: number | undefined;
  let time: Buffer = Buffer.alloc(0);
  let at = 0;
  for (const entry of entries) {
    if (entry.revokedAt !== revokedAt) time = encodeTime((revokedAt = entry.revokedAt));
    let extensions = extensionsOf.get(entry.reason);
    if (extensions === undefined) {
      extensions = reasonExtension(entry.reason as CrlReason);
      extensionsOf.set(entry.reason, extensions);
    }
    // every part is short: lengths have one octet
    const start = at;
    at = writeSerial(out, start + 2, entry.serialHex);
    at += time.copy(out, at);
    at += extensions.copy(out, at);
    out[start] = tag.sequence;
    out[start + 1] = at - start - 2;
  }
  return sequence(out.subarray(0, at));
}

const reasonExtension = (reason: CrlReason): Buffer =>
  sequence(extension('reasonCode', false, der(tag.enumerated, Buffer.of(reasonCodes[reason]))));

/** Writes an INTEGER from an unsigned magnitude. Returns the offset behind it. */
function writeSerial(out: Buffer, at: number, serialHex: string): number {
  if (!/^([0-9a-f]{2}){1,20}$/.test(serialHex))
    throw new PkiError('LINT_FAILED', `${JSON.stringify(serialHex)} is not a hexadecimal serial`);
  const stripped = serialHex.replace(/^(00)+(?=..)/, '');
  let content = at + 2;
  if (stripped >= '8') out[content++] = 0;
  content += out.write(stripped, content, 'hex');
  out[at] = tag.integer;
  out[at + 1] = content - at - 2;
  return content;
}

import { PkiError } from '../common/errors/index.ts';
import { derWriter, encodeTime, tag } from '../common/x509/index.ts';
import { authorityKeyId, extension, signatureAlgorithmDer } from './fields.ts';
import type { CrlEntry, CrlInput, CrlReason } from './types.ts';

const { context, der, integer, sequence, unsignedInteger } = derWriter;

/** RFC 5280 section 5.3.1. */
const reasonCodes: Readonly<Record<CrlReason, number>> = {
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
};

/**
 * The TBSCertList of a complete v2 CRL (RFC 5280 section 5), entries in the order given. The list
 * is left out when it is empty, as section 5.1.2.6 asks.
 */
export function buildCrlTbs(input: CrlInput): Buffer {
  if (input.nextUpdate <= input.thisUpdate)
    throw new PkiError('LINT_FAILED', 'a CRL must end after it begins');
  if (input.revoked.some(({ revokedAt }) => revokedAt > input.thisUpdate))
    throw new PkiError('LINT_FAILED', 'an entry of a CRL is later than the CRL');
  if (new Set(input.revoked.map((entry) => entry.serialHex)).size !== input.revoked.length)
    throw new PkiError('LINT_FAILED', 'a serial stands twice in a CRL');
  return sequence(
    integer(1),
    signatureAlgorithmDer(input.issuer.spkiDer),
    input.issuer.subjectDer,
    encodeTime(input.thisUpdate),
    encodeTime(input.nextUpdate),
    ...(input.revoked.length === 0 ? [] : [revokedCertificates(input.revoked)]),
    context(
      0,
      sequence(authorityKeyId(input.issuer), extension('crlNumber', false, integer(input.number))),
    ),
  );
}

/** Concatenated first: an argument an entry is more than a call takes above some 62,000. */
const revokedCertificates = (entries: readonly CrlEntry[]): Buffer =>
  sequence(Buffer.concat(entries.map(revokedCertificate)));

function revokedCertificate(entry: CrlEntry): Buffer {
  if (!/^([0-9a-f]{2}){1,20}$/.test(entry.serialHex))
    throw new PkiError('LINT_FAILED', `${JSON.stringify(entry.serialHex)} is not a serial in hex`);
  const serial = unsignedInteger(Buffer.from(entry.serialHex, 'hex'));
  if (entry.reason === undefined) return sequence(serial, encodeTime(entry.revokedAt));
  return sequence(
    serial,
    encodeTime(entry.revokedAt),
    sequence(
      extension('reasonCode', false, der(tag.enumerated, Buffer.of(reasonCodes[entry.reason]))),
    ),
  );
}

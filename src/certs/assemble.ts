import { PkiError } from '../common/errors/index.ts';
import {
  DerError,
  DerReader,
  derWriter,
  signatureAlgorithmFor,
  tag,
  type KeyType,
} from '../common/x509/index.ts';

/**
 * SIGNED{tbs}: the DER of a certificate or CRL, from its TBS and the signature of an issuer with a
 * key of this type.
 *
 * @throws PkiError LINT_FAILED if the TBS names another algorithm
 */
export function assembleSigned(tbsDer: Buffer, issuerKeyType: KeyType, signature: Buffer): Buffer {
  const algorithmDer = signatureAlgorithmFor(issuerKeyType).algorithmIdentifierDer;
  if (!namesAlgorithm(tbsDer, algorithmDer))
    throw new PkiError(
      'LINT_FAILED',
      'the TBS names another signature algorithm than its issuer uses',
    );
  return derWriter.sequence(tbsDer, algorithmDer, derWriter.bitString(signature));
}

function namesAlgorithm(tbsDer: Buffer, algorithmDer: Buffer): boolean {
  try {
    const tbs = new DerReader(tbsDer).sequence('TBS');
    if (tbs.peek() === tag.context(0)) tbs.passOver(tag.context(0), 'version');
    // the serial of a certificate, or the version of a CRL
    tbs.passOver(tag.integer, 'serialNumber');
    return tbs.passes(algorithmDer);
  } catch (thrown) {
    throw thrown instanceof DerError ? new PkiError('LINT_FAILED', thrown.message) : thrown;
  }
}

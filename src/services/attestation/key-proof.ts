import { verify } from 'node:crypto';
import { PkiError } from '../../common/errors/index.ts';
import { keyTypeOfSpki, publicKeyOf, signatureAlgorithmFor } from '../../common/x509/index.ts';

const maximumSignatureBytes = 1024;

/**
 * Requires that the key made `signature` over the message.
 *
 * @throws PkiError ATTESTATION_FAILED
 */
export function checkKeyProof(spkiDer: Buffer, message: Buffer, signature: Buffer): void {
  const keyType = keyTypeOfSpki(spkiDer);
  const good =
    keyType.ok &&
    signature.length <= maximumSignatureBytes &&
    verify(signatureAlgorithmFor(keyType.value).hash, message, publicKeyOf(spkiDer), signature);
  if (!good)
    throw new PkiError(
      'ATTESTATION_FAILED',
      'the signature over the challenge was not made with the key to prove',
    );
}

import { PkiError } from '../common/errors/index.ts';
import type { KeyType } from '../common/x509/index.ts';

/** SIGNED{tbs}: a certificate or CRL from its TBS and the signature of an issuer with a key of this type. */
export function assembleSigned(tbsDer: Buffer, issuerKeyType: KeyType, signature: Buffer): Buffer {
  void [tbsDer, issuerKeyType, signature];
  throw new PkiError('NOT_IMPLEMENTED', 'in work');
}

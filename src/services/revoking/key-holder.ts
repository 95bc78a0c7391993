import { PkiError, unwrap } from '../../common/errors/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { CertificateRecord, Revocation } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import { requireProven, type RevocationProof } from './proof.ts';
import { revocability } from './revocability.ts';
import type { Revoker } from './revoker.ts';

export interface KeyHolderDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: RevocationProof['inventory'];
  readonly authorities: Pick<Authorities, 'all'>;
  readonly revoker: Revoker;
}

/** A request that was signed with the key of the certificate. */
export interface KeyHolderRequest {
  /** The certificate to revoke. */
  readonly certificateDer: Buffer;
  /** Lower-case hex. */
  readonly serial: string;
  /** The key that signed the request, as its protocol has verified (for ACME the JWS). */
  readonly provenSpkiDer: Buffer;
  /** For the record: where the request came from. */
  readonly peer: string;
}

/**
 * Revokes a certificate for whoever proved its private key. Who asks is not known, so that the key
 * counts as compromised whatever the request states, and is blocked for ever (as RFC 8555, section
 * 7.6 allows, and as relying parties expect).
 *
 * @throws PkiError NOT_FOUND for a certificate that this CA did not issue or another key,
 *   REVOCATION_NOT_POSSIBLE
 */
export async function revokeAsKeyHolder(
  { certificates, inventory, authorities, revoker }: KeyHolderDependencies,
  { certificateDer, serial, provenSpkiDer, peer }: KeyHolderRequest,
): Promise<{ readonly certificate: CertificateRecord; readonly revocation: Revocation }> {
  const record = await certificates.bySerial(serial);
  const matches =
    record?.state === 'issued' &&
    record.sha256 === sha256Hex(certificateDer) &&
    record.publicKeySha256 === sha256Hex(provenSpkiDer);
  // one answer: who proved no key learns nothing of certificates
  if (!matches)
    throw new PkiError(
      'NOT_FOUND',
      'there is no certificate of this CA with these bytes and this key',
    );
  await requireProven(record, { inventory, authorities });
  const how = unwrap(revocability(record, authorities.all()));
  const act = {
    actor: `key ${record.publicKeySha256}`,
    reason: 'keyCompromise',
    blockKeys: true,
    detail: { provenBy: 'the key of the certificate', peer },
  } as const;
  const revocation = await revoker.revokeOne({ record, how }, act);
  return { certificate: record, revocation };
}

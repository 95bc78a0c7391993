import { checkSignature, parseCertificate } from '../../common/x509/index.ts';
import type { Authority, CertificateRecord } from '../../domain/index.ts';
import { isNotInLog } from '../../ledger/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';

export interface RevocationProof {
  readonly inventory: Pick<InventoryProof, 'require' | 'requireUnreleased' | 'refuse'>;
  readonly authorities: { all(): readonly Authority[] };
}

/**
 * The row of a certificate decides whether it can be revoked, and on which CRL, so that it must be
 * proven: by the log, or for a certificate of an authority by that certificate itself.
 *
 * @throws PkiError OBJECT_NOT_IN_LOG, which is announced
 */
export async function requireProven(
  record: CertificateRecord,
  { inventory, authorities }: RevocationProof,
): Promise<void> {
  if (record.kind !== 'authority')
    await (record.state === 'issued'
      ? inventory.require(record)
      : inventory.requireUnreleased(record));
  else if (record.state === 'issued' && !isProvenAuthority(record, authorities.all()))
    inventory.refuse(record);
}

/** For acts on many certificates: one whose row was altered stops no other. */
export async function isProven(record: CertificateRecord, by: RevocationProof): Promise<boolean> {
  try {
    await requireProven(record, by);
    return true;
  } catch (thrown) {
    if (!isNotInLog(thrown)) throw thrown;
    return false;
  }
}

const ocspSigning = '1.3.6.1.5.5.7.3.9';

function isProvenAuthority(
  { serial, certificateDer, authorityId, notAfter, shard }: CertificateRecord,
  all: readonly Authority[],
): boolean {
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  if (parsed?.ok !== true) return false;
  const { value: certificate } = parsed;
  if (certificate.serialHex !== serial) return false;
  // our own are not revoked here, whatever their rows say
  if (all.some((each) => each.certificateDer?.equals(certificate.raw) === true)) return true;
  if (
    certificate.notAfter !== notAfter ||
    shard !== 0 ||
    !(certificate.isCa || certificate.extendedKeyUsage?.includes(ocspSigning) === true)
  )
    return false;
  const issuerDer = all.find(({ id }) => id === authorityId)?.certificateDer ?? undefined;
  const issuer = issuerDer === undefined ? undefined : parseCertificate(issuerDer);
  return issuer?.ok === true && checkSignature(certificate, issuer.value).ok;
}

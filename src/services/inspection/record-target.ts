import { parseCertificate } from '../../common/x509/index.ts';
import { isNamesKind, type CertificateRecord, type Target } from '../../domain/index.ts';

/**
 * The target that a role must cover to see or revoke a certificate. Names without a SPIFFE
 * ID come from the certificate. An unsigned one has no names, so that only a role over everything covers
 * it.
 */
export function targetOfRecord({ kind, spiffeId, certificateDer }: CertificateRecord): Target {
  if (!isNamesKind(kind)) return { kind: 'id', spiffeId };
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  const [dnsNames, ips] =
    parsed?.ok === true ? [parsed.value.dnsSans, parsed.value.ipSans] : [[], []];
  return { kind: 'names', subject: { kind: 'names', dnsNames, ips } };
}

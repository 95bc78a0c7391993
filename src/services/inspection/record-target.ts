import { parseCertificate } from '../../common/x509/index.ts';
import { isNamesKind, type CertificateRecord, type Target, type Verb } from '../../domain/index.ts';
import type { Access, OperatorRights } from '../callers/access.ts';

/**
 * Whether an operator may do this with a certificate: by a role over its identity or all its names,
 * or over the tenant for which it was issued.
 */
export const coversRecord = (
  rights: OperatorRights,
  access: Pick<Access, 'all'>,
  { verb, record }: { readonly verb: Verb; readonly record: CertificateRecord },
): boolean =>
  rights.permits(verb, access.all) ||
  rights.permits(verb, targetOfRecord(record)) ||
  (record.tenant !== null && rights.permits(verb, { kind: 'tenant', name: record.tenant }));

/**
 * Names without a SPIFFE ID come from the certificate, so that an act first needs a proof of the row
 * with its bytes (`requireProven`). An unsigned one has no names, so that only a
 * role over its tenant or over everything covers it.
 */
function targetOfRecord({ kind, spiffeId, certificateDer }: CertificateRecord): Target {
  if (!isNamesKind(kind)) return { kind: 'id', spiffeId };
  const parsed = certificateDer === null ? undefined : parseCertificate(certificateDer);
  const [dnsNames, ips] =
    parsed?.ok === true ? [parsed.value.dnsSans, parsed.value.ipSans] : [[], []];
  return { kind: 'names', subject: { kind: 'names', dnsNames, ips } };
}

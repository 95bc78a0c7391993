import { checkSignature, parseCertificate } from '../../common/x509/index.ts';
import {
  subjectNames,
  subjectText,
  type CertificateRecord,
  type Subject,
} from '../../domain/index.ts';
import type { LeafRequest } from '../issuer.ts';

/**
 * The certificate of a record, if it answers this request: of the same identity, names and key, and
 * not ended. A row proves nothing, so that the names, the key, the serial and the end are those of
 * the certificate, whose signature is that of its issuer.
 */
export function repeatedCertificate(
  record: CertificateRecord,
  {
    request,
    spkiDer,
    issuerDer,
    now,
  }: {
    readonly request: Pick<LeafRequest, 'subject' | 'kind'>;
    readonly spkiDer: Buffer;
    /** The certificate of the authority that the record names; undefined: it is not here. */
    readonly issuerDer: Buffer | undefined;
    readonly now: number;
  },
): Buffer | undefined {
  const { certificateDer } = record;
  if (
    record.state !== 'issued' ||
    certificateDer === null ||
    issuerDer === undefined ||
    record.spiffeId !== subjectText(request.subject) ||
    record.kind !== request.kind ||
    record.notAfter <= now
  )
    return undefined;
  const leaf = parseCertificate(certificateDer);
  const issuer = parseCertificate(issuerDer);
  return leaf.ok &&
    issuer.ok &&
    leaf.value.serialHex === record.serial &&
    leaf.value.notAfter === record.notAfter &&
    leaf.value.spkiDer.equals(spkiDer) &&
    hasNames(leaf.value, request.subject) &&
    checkSignature(leaf.value, issuer.value).ok
    ? certificateDer
    : undefined;
}

/** The record of a certificate with names states the first one only. */
function hasNames(
  {
    uriSans,
    dnsSans,
    ipSans,
  }: {
    readonly uriSans: readonly string[];
    readonly dnsSans: readonly string[];
    readonly ipSans: readonly string[];
  },
  subject: Subject,
): boolean {
  const names =
    subject.kind === 'spiffe'
      ? [...uriSans, ...dnsSans.map((name) => `dns:${name}`)]
      : subjectNames({ kind: 'names', dnsNames: dnsSans, ips: ipSans });
  const wanted = subjectNames(subject);
  return names.length === wanted.length && names.every((name, index) => name === wanted[index]);
}

import type * as Asn1js from 'asn1js';
import type * as Pkijs from 'pkijs';
import { fail, ok, type Result } from '../common/errors/index.ts';
import {
  derWriter,
  keyUsageNames,
  parseTbsCertificate,
  parseTbsCrl,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import { extensionOids } from './fields.ts';

/**
 * The content of an object as a reader sees it: each field as text. Two readers agree if all texts
 * are equal.
 */
type Reading = Readonly<Record<string, string | undefined>>;

/** The fields that our own parser reads of a certificate, signed or not. */
export type CertificateFields = Omit<
  ParsedCertificate,
  'raw' | 'tbsDer' | 'signatureAlgorithm' | 'signatureAlgorithmDer' | 'signature'
>;

/**
 * Parses a TBSCertificate of a CA with pkijs, and compares the result with our own. All decisions
 * about a CA rest on our parser, and must not depend on a defect of one parser. This takes
 * milliseconds, so that it is used for rare objects only: certificates of our own and of foreign
 * authorities. pkijs is loaded at the first call. Fails with LINT_FAILED and names the field.
 */
export function confirmReading(tbsDer: Buffer, ours: CertificateFields): Promise<Result<void>> {
  return compared('certificate', ourReading(ours), (readers) =>
    certificateReading(readers, signedForm(tbsDer)),
  );
}

/** `confirmReading` for a TBSCertificate that was not parsed yet. */
export async function readTwice(tbsDer: Buffer): Promise<Result<void>> {
  const fields = parseTbsCertificate(tbsDer);
  return fields.ok
    ? confirmReading(tbsDer, fields.value)
    : fail('LINT_FAILED', fields.error.message);
}

/** `readTwice` for a TBSCertList. */
export async function readCrlTwice(tbsDer: Buffer): Promise<Result<void>> {
  const crl = parseTbsCrl(tbsDer);
  if (!crl.ok) return fail('LINT_FAILED', crl.error.message);
  const { value } = crl;
  const ours: Reading = {
    issuer: value.issuerDer.toString('hex'),
    thisUpdate: String(value.thisUpdate),
    nextUpdate: String(value.nextUpdate),
    number: String(value.number),
    authorityKeyIdentifier: value.authorityKeyId,
    entries: [...value.revoked].map(([serial, { revokedAt }]) => `${serial}@${revokedAt}`).join(),
  };
  return compared('CRL', ours, (readers) => crlReading(readers, signedForm(tbsDer)));
}

const { bitString, oid, sequence } = derWriter;
const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));

/** pkijs parses only signed objects. The placeholder signature is not examined. */
const signedForm = (tbsDer: Buffer): Buffer =>
  sequence(tbsDer, ecdsaWithSha256, bitString(Buffer.alloc(1)));

interface Readers {
  readonly pkijs: typeof Pkijs;
  readonly asn1js: typeof Asn1js;
}

async function compared(
  kind: string,
  ours: Reading,
  read: (readers: Readers) => Reading,
): Promise<Result<void>> {
  const [pkijs, asn1js] = await Promise.all([import('pkijs'), import('asn1js')]);
  let theirs: Reading;
  try {
    theirs = read({ pkijs, asn1js });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    return fail('LINT_FAILED', `the second reader can not read the ${kind}: ${reason}`);
  }
  const field = Object.keys(ours).find((name) => ours[name] !== theirs[name]);
  return field === undefined
    ? ok(undefined)
    : fail(
        'LINT_FAILED',
        `the two readers of the ${kind} differ in ${field}: ${shown(ours[field])} and ${shown(theirs[field])}`,
      );
}

const shown = (text: string | undefined): string => JSON.stringify(text ?? 'absent').slice(0, 200);

const ourReading = (fields: CertificateFields): Reading => ({
  serialNumber: fields.serialHex,
  issuer: fields.issuerDer.toString('hex'),
  subject: fields.subjectDer.toString('hex'),
  notBefore: String(fields.notBefore),
  notAfter: String(fields.notAfter),
  subjectPublicKeyInfo: fields.spkiDer.toString('hex'),
  extensions: fields.extensionOids
    .map((oid) => `${oid}${fields.criticalExtensionOids.includes(oid) ? ' critical' : ''}`)
    .join(),
  cA: String(fields.isCa),
  pathLenConstraint: fields.pathLength?.toString(),
  keyUsage: fields.keyUsage === undefined ? undefined : [...fields.keyUsage.names].join(),
  extendedKeyUsage: fields.extendedKeyUsage?.join(),
  subjectKeyIdentifier: fields.subjectKeyId,
  authorityKeyIdentifier: fields.authorityKeyId,
  uris: fields.uriSans.join(),
  dnsNames: fields.dnsSans.join(),
  otherNames: String(fields.otherSanKinds.length),
  crlDistributionPoints: fields.crlDistributionPoints.join(),
  ocspUrls: fields.ocspUrls.join(),
  issuerUrls: fields.issuerUrls.join(),
  serverAuthority: fields.serverAuthority ? nullDer : undefined,
});

function certificateReading(readers: Readers, der: Buffer): Reading {
  const certificate = readers.pkijs.Certificate.fromBER(der);
  const extensions = certificate.extensions ?? [];
  const valueOf = (oid: string): Uint8Array | undefined =>
    extensions.find(({ extnID }) => extnID === oid)?.extnValue.valueBlock.valueHexView;
  return {
    serialNumber: unsignedHex(certificate.serialNumber),
    issuer: hex(certificate.issuer.toSchema().toBER()),
    subject: hex(certificate.subject.toSchema().toBER()),
    notBefore: seconds(certificate.notBefore),
    notAfter: seconds(certificate.notAfter),
    subjectPublicKeyInfo: hex(certificate.subjectPublicKeyInfo.toSchema().toBER()),
    extensions: extensions
      .map(({ extnID, critical }) => `${extnID}${critical ? ' critical' : ''}`)
      .join(),
    ...constraintsReading(readers, valueOf),
    ...identifiersReading(readers, valueOf),
    ...namesReading(readers, valueOf),
    ...accessReading(readers, valueOf),
    serverAuthority: markReading(valueOf),
  };
}

const nullDer = '0500';

function markReading(valueOf: ValueOf): string | undefined {
  const mark = valueOf(extensionOids.serverAuthority);
  return mark && hex(mark);
}

type ValueOf = (oid: string) => Uint8Array | undefined;

function constraintsReading({ pkijs, asn1js }: Readers, valueOf: ValueOf): Reading {
  const constraints = valueOf(pkijs.id_BasicConstraints);
  const { cA, pathLenConstraint } =
    constraints === undefined
      ? { cA: false, pathLenConstraint: undefined }
      : pkijs.BasicConstraints.fromBER(constraints);
  const usage = valueOf(pkijs.id_KeyUsage);
  const purposes = valueOf(pkijs.id_ExtKeyUsage);
  return {
    cA: String(cA),
    pathLenConstraint:
      typeof pathLenConstraint === 'object'
        ? String(pathLenConstraint.toBigInt())
        : pathLenConstraint?.toString(),
    keyUsage: usage === undefined ? undefined : usageText(bitsOf(asn1js, usage)),
    extendedKeyUsage:
      purposes === undefined ? undefined : pkijs.ExtKeyUsage.fromBER(purposes).keyPurposes.join(),
  };
}

/** The octets of a BIT STRING. */
function bitsOf(asn1js: typeof Asn1js, der: Uint8Array): Uint8Array {
  const { result } = asn1js.fromBER(der);
  if (!(result instanceof asn1js.BitString)) throw new Error('a keyUsage is no BIT STRING');
  return result.valueBlock.valueHexView;
}

const usageText = (octets: Uint8Array): string =>
  keyUsageNames.filter((_, bit) => ((octets[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0).join();

function identifiersReading({ pkijs, asn1js }: Readers, valueOf: ValueOf): Reading {
  const subject = valueOf(pkijs.id_SubjectKeyIdentifier);
  const authority = valueOf(pkijs.id_AuthorityKeyIdentifier);
  const identifier =
    authority === undefined
      ? undefined
      : pkijs.AuthorityKeyIdentifier.fromBER(authority).keyIdentifier;
  return {
    subjectKeyIdentifier: subject === undefined ? undefined : octetsOf(asn1js, subject),
    authorityKeyIdentifier: identifier && hex(identifier.valueBlock.valueHexView),
  };
}

function octetsOf(asn1js: typeof Asn1js, der: Uint8Array): string {
  const { result } = asn1js.fromBER(der);
  if (!(result instanceof asn1js.OctetString))
    throw new Error('a key identifier is no OCTET STRING');
  return hex(result.valueBlock.valueHexView);
}

/** Tags of GeneralName (RFC 5280 section 4.2.1.6). */
const dnsName = 2;
const uri = 6;

function namesReading({ pkijs }: Readers, valueOf: ValueOf): Reading {
  const san = valueOf(pkijs.id_SubjectAltName);
  const names = san === undefined ? [] : pkijs.AltName.fromBER(san).altNames;
  const points = valueOf(pkijs.id_CRLDistributionPoints);
  const locations =
    points === undefined
      ? []
      : pkijs.CRLDistributionPoints.fromBER(points).distributionPoints.flatMap(
          ({ distributionPoint }) => (Array.isArray(distributionPoint) ? distributionPoint : []),
        );
  return {
    uris: valuesOf(names, uri),
    dnsNames: valuesOf(names, dnsName),
    otherNames: String(names.filter(({ type }) => type !== uri && type !== dnsName).length),
    crlDistributionPoints: valuesOf(locations, uri),
  };
}

const ocspMethod = '1.3.6.1.5.5.7.48.1';
const issuersMethod = '1.3.6.1.5.5.7.48.2';

function accessReading({ pkijs }: Readers, valueOf: ValueOf): Reading {
  const access = valueOf(pkijs.id_AuthorityInfoAccess);
  const descriptions =
    access === undefined ? [] : pkijs.InfoAccess.fromBER(access).accessDescriptions;
  const urls = (method: string): string =>
    valuesOf(
      descriptions
        .filter(({ accessMethod }) => accessMethod === method)
        .map(({ accessLocation }) => accessLocation)
        .filter(({ value }) => /^[\x21-\x7e]+$/.test(String(value))),
      uri,
    );
  return { ocspUrls: urls(ocspMethod), issuerUrls: urls(issuersMethod) };
}

const valuesOf = (names: readonly Pkijs.GeneralName[], type: number): string =>
  names
    .filter((name) => name.type === type)
    .map(({ value }) => String(value))
    .join();

function crlReading({ pkijs, asn1js }: Readers, der: Buffer): Reading {
  const crl = pkijs.CertificateRevocationList.fromBER(der);
  const extensions = crl.crlExtensions?.extensions ?? [];
  const valueOf: ValueOf = (oid) =>
    extensions.find(({ extnID }) => extnID === oid)?.extnValue.valueBlock.valueHexView;
  const number = valueOf(pkijs.id_CRLNumber);
  const { authorityKeyIdentifier } = identifiersReading({ pkijs, asn1js }, valueOf);
  return {
    issuer: hex(crl.issuer.toSchema().toBER()),
    thisUpdate: seconds(crl.thisUpdate),
    nextUpdate: crl.nextUpdate && seconds(crl.nextUpdate),
    number: number && String((asn1js.fromBER(number).result as Asn1js.Integer).toBigInt()),
    authorityKeyIdentifier,
    entries: (crl.revokedCertificates ?? [])
      .map(
        ({ userCertificate, revocationDate }) =>
          `${unsignedHex(userCertificate)}@${seconds(revocationDate)}`,
      )
      .join(),
  };
}

const hex = (bytes: ArrayBuffer | Uint8Array): string =>
  Buffer.from(bytes as Uint8Array).toString('hex');

/** The serial without the leading zero octet of a positive INTEGER, as our parser returns it. */
const unsignedHex = ({ valueBlock }: Asn1js.Integer): string =>
  hex(valueBlock.valueHexView).replace(/^00(?=..)/, '');

const seconds = ({ value }: Pkijs.Time): string => String(Math.floor(value.getTime() / 1000));

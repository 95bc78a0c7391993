import { PkiError, unwrap } from '../common/errors/index.ts';
import {
  derWriter,
  encodeTime,
  ipOctets,
  keyIdentifierOf,
  keyTypeOfSpki,
  keyUsageNames,
  signatureAlgorithmFor,
  tag,
  type KeyUsageName,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import type { Subject } from '../domain/index.ts';
import type { InformationAccess } from './types.ts';

const {
  context,
  contextPrimitive,
  der,
  derNull,
  derTrue,
  integer,
  latin1,
  namedBits,
  octetString,
  oid,
  sequence,
  setOf,
  utf8String,
} = derWriter;

/** OIDs of extensions, dotted. */
export const extensionOids = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  crlDistributionPoints: '2.5.29.31',
  issuingDistributionPoint: '2.5.29.28',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  noRevAvail: '2.5.29.56',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  /** RFC 7633. Never issued. */
  tlsFeature: '1.3.6.1.5.5.7.1.24',
  /** id-pkix-ocsp-nocheck (RFC 6960, section 4.2.2.2.1). */
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
  /**
   * The OID of a GUID below the arc that Microsoft gives to all GUIDs: no arc of it is longer than
   * 24 bits. Go can not read arcs above 31 bits, so that 2.25 (a whole UUID in one arc) would make
   * our certificates unreadable there.
   */
  serverAuthority: '1.2.840.113556.1.8000.2554.14914.56170.64652.20426.42641.10257499.7236474',
} as const;

const oidDer = Object.fromEntries(
  Object.entries(extensionOids).map(([name, text]) => [name, oid(text)]),
) as Record<keyof typeof extensionOids, Buffer>;
const trueDer = derTrue();

export const version3 = context(0, integer(2));
export const emptyName = sequence();

/** `critical` is left out when false: DER does not write defaults. */
export const extension = (
  name: keyof typeof extensionOids,
  critical: boolean,
  value: Buffer,
): Buffer =>
  critical
    ? sequence(oidDer[name], trueDer, octetString(value))
    : sequence(oidDer[name], octetString(value));

export const keyUsage = (names: readonly KeyUsageName[]): Buffer =>
  extension('keyUsage', true, namedBits(names.map((name) => keyUsageNames.indexOf(name))));
export const extendedKeyUsage = (oids: readonly string[]): Buffer =>
  extension('extendedKeyUsage', false, sequence(...oids.map(oid)));
export const basicConstraints = (isCa: boolean, pathLength: number | undefined): Buffer =>
  extension(
    'basicConstraints',
    true,
    sequence(
      ...(isCa ? [trueDer] : []),
      ...(pathLength === undefined ? [] : [integer(pathLength)]),
    ),
  );
export const noRevAvail = (): Buffer => extension('noRevAvail', false, derNull());
export const ocspNoCheck = (): Buffer => extension('ocspNoCheck', false, derNull());
export const serverAuthority = (): Buffer => extension('serverAuthority', false, derNull());
export const subjectKeyId = (spkiDer: Buffer): Buffer =>
  extension('subjectKeyId', false, octetString(keyIdentifierOf(spkiDer)));
export const crlDistributionPoint = (url: string): Buffer =>
  extension(
    'crlDistributionPoints',
    false,
    sequence(sequence(context(0, context(0, contextPrimitive(6, Buffer.from(url, 'latin1')))))),
  );

const ocspMethod = oid('1.3.6.1.5.5.7.48.1');
const issuersMethod = oid('1.3.6.1.5.5.7.48.2');

/** Undefined: there is nothing to say. */
export function authorityInfoAccess({ ocspUrl, issuerUrl }: InformationAccess): Buffer | undefined {
  const uri = (url: string): Buffer => contextPrimitive(6, Buffer.from(url, 'latin1'));
  const descriptions = [
    ...(ocspUrl === undefined ? [] : [sequence(ocspMethod, uri(ocspUrl))]),
    ...(issuerUrl === undefined ? [] : [sequence(issuersMethod, uri(issuerUrl))]),
  ];
  return descriptions.length === 0
    ? undefined
    : extension('authorityInfoAccess', false, sequence(...descriptions));
}

const commonNameOid = oid('2.5.4.3');

/** A Name with one common name as UTF8String. */
export const commonNameDer = (text: string): Buffer =>
  sequence(setOf(sequence(commonNameOid, utf8String(text))));

/**
 * Limits a CRL to the certificates with this distribution point, byte for byte. Critical (RFC 5280,
 * section 5.2.5).
 */
export const issuingDistributionPoint = (url: string): Buffer =>
  extension(
    'issuingDistributionPoint',
    true,
    sequence(context(0, context(0, contextPrimitive(6, Buffer.from(url, 'latin1'))))),
  );

export function authorityKeyId(issuer: ParsedCertificate): Buffer {
  if (issuer.subjectKeyId === undefined)
    throw new PkiError('LINT_FAILED', 'the issuer has no subject key identifier');
  return extension(
    'authorityKeyId',
    false,
    sequence(contextPrimitive(0, Buffer.from(issuer.subjectKeyId, 'hex'))),
  );
}

/**
 * A SPIFFE ID comes first, then the DNS names, then the IP addresses.
 *
 * @throws PkiError LINT_FAILED
 */
export const subjectAltName = (critical: boolean, subject: Subject): Buffer =>
  extension(
    'subjectAltName',
    critical,
    sequence(
      ...(subject.kind === 'spiffe'
        ? [latin1(tag.contextPrimitive(6), subject.id.toString())]
        : []),
      ...subject.dnsNames.map((name) => latin1(tag.contextPrimitive(2), name)),
      ...(subject.kind === 'names' ? subject.ips.map(ipAddress) : []),
    ),
  );

function ipAddress(text: string): Buffer {
  const octets = ipOctets(text);
  if (octets === undefined)
    throw new PkiError('LINT_FAILED', `${JSON.stringify(text)} is not a canonical IP address`);
  return contextPrimitive(7, octets);
}

/** The last one that was written: certificates of one second often have the same. */
let lastValidity:
  | { readonly notBefore: number; readonly notAfter: number; readonly der: Buffer }
  | undefined;

/** Never to be written to. */
export function validity(notBefore: number, notAfter: number): Buffer {
  if (lastValidity?.notBefore !== notBefore || lastValidity.notAfter !== notAfter)
    lastValidity = {
      notBefore,
      notAfter,
      der: sequence(encodeTime(notBefore), encodeTime(notAfter)),
    };
  return lastValidity.der;
}

/** INTEGER of a serial from newSerial: positive and without leading zero octets. */
export function serialNumber(serial: Buffer): Buffer {
  const first = serial[0];
  if (first === undefined || first === 0 || first >= 0x80 || serial.length > 20)
    throw new PkiError(
      'LINT_FAILED',
      'the serial is not a positive number of at most 20 octets in its shortest form',
    );
  return der(tag.integer, serial);
}

/** AlgorithmIdentifier of the signatures of a key. */
export const signatureAlgorithmDer = (spkiDer: Buffer): Buffer =>
  signatureAlgorithmFor(unwrap(keyTypeOfSpki(spkiDer))).algorithmIdentifierDer;

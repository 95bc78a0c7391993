import { fail, ok, type Result } from '../errors/index.ts';
import { DerError, DerReader, parsing, tag } from './der-reader.ts';
import { readExtensions, type Extensions } from './extensions.ts';
import { readStrictName } from './names.ts';
import { signatureAlgorithmOf } from './signature-algorithm.ts';
import { readSpki } from './spki.ts';
import { readTime } from './time.ts';
import type { ParsedCertificate } from './types.ts';

const maximumCertificateBytes = 65_536;

/** The fields of a TBSCertificate; see ParsedCertificate. */
export interface TbsFields
  extends Omit<
    ParsedCertificate,
    'raw' | 'tbsDer' | 'signatureAlgorithm' | 'signatureAlgorithmDer' | 'signature'
  > {
  /** AlgorithmIdentifier and Validity with tag and length. */
  readonly tbsAlgorithmDer: Buffer;
  readonly validityDer: Buffer;
}

/**
 * Reads a v3 certificate (RFC 5280 section 4.1) in strict DER. Stricter than most: no explicit
 * DEFAULT values, no unique identifiers, extensions that we know must be well-formed to their last
 * byte. Fails with CERTIFICATE_MALFORMED.
 */
export function parseCertificate(der: Buffer): Result<ParsedCertificate> {
  if (der.length > maximumCertificateBytes)
    return fail(
      'CERTIFICATE_MALFORMED',
      `the certificate has more than ${maximumCertificateBytes} bytes`,
    );
  return parsing('CERTIFICATE_MALFORMED', () => {
    const outer = new DerReader(der);
    const certificate = outer.sequence('certificate');
    outer.end('the certificate');
    const start = certificate.offset;
    const { tbsAlgorithmDer, validityDer: _validityDer, ...fields } = readTbs(certificate);
    const tbsDer = certificate.since(start);
    const signatureAlgorithmDer = certificate.element(tag.sequence, 'signatureAlgorithm');
    if (!signatureAlgorithmDer.equals(tbsAlgorithmDer))
      throw new DerError('the two signature algorithms differ');
    const signature = certificate.octetBits('signature');
    certificate.end('the signature');
    return ok({
      raw: der,
      tbsDer,
      ...fields,
      signatureAlgorithm: signatureAlgorithmOf(signatureAlgorithmDer),
      signatureAlgorithmDer,
      signature,
    });
  });
}

/** Reads a TBSCertificate alone, before it is signed. Fails with CERTIFICATE_MALFORMED. */
export function parseTbsCertificate(tbsDer: Buffer): Result<TbsFields> {
  return parsing('CERTIFICATE_MALFORMED', () => {
    const outer = new DerReader(tbsDer);
    const fields = readTbs(outer);
    outer.end('the TBSCertificate');
    return ok(fields);
  });
}

function readTbs(outer: DerReader): TbsFields {
  const tbs = outer.sequence('tbsCertificate');
  const version = tbs.enter(tag.context(0), 'version');
  if (version.smallInteger('version') !== 2)
    throw new DerError('the certificate is not of version 3');
  version.end('version');
  const serial = tbs.integer('serialNumber');
  if ((serial[0] as number) >= 0x80) throw new DerError('the serial number is negative');
  const serialHex = (serial[0] === 0 && serial.length > 1 ? serial.subarray(1) : serial).toString(
    'hex',
  );
  if (serial.length > 20) throw new DerError('the serial number has more than 20 octets');
  const tbsAlgorithmDer = tbs.element(tag.sequence, 'signature');
  const issuerDer = readStrictName(tbs, 'issuer');
  if (issuerDer.length === 2) throw new DerError('the issuer is empty');
  const validityStart = tbs.offset;
  const validity = tbs.sequence('validity');
  const validityDer = tbs.since(validityStart);
  const notBefore = readTime(validity, 'notBefore');
  const notAfter = readTime(validity, 'notAfter');
  validity.end('validity');
  const subjectDer = readStrictName(tbs, 'subject');
  const spkiDer = readSpki(tbs);
  const wrapped = tbs.enter(tag.context(3), 'extensions');
  const extensions = readExtensions(wrapped.sequence('extensions'));
  wrapped.end('extensions');
  tbs.end('the extensions');
  return {
    tbsAlgorithmDer,
    validityDer,
    serialHex,
    issuerDer,
    subjectDer,
    notBefore,
    notAfter,
    spkiDer,
    ...flat(extensions),
  };
}

function flat({
  subjectAltName,
  hasOcsp: _hasOcsp,
  ...rest
}: Extensions): Omit<Extensions, 'subjectAltName' | 'hasOcsp'> &
  Pick<ParsedCertificate, 'uriSans' | 'dnsSans' | 'ipSans' | 'otherSanKinds'> {
  return {
    ...rest,
    uriSans: subjectAltName?.uris ?? [],
    dnsSans: subjectAltName?.dnsNames ?? [],
    ipSans: subjectAltName?.ips ?? [],
    otherSanKinds: subjectAltName?.otherKinds ?? [],
  };
}

import { fail, ok, type Result } from '../common/errors/index.ts';
import { DerError, DerReader, parsing, tag } from '../common/x509/index.ts';
import type { OcspCertId, OcspHash } from './ocsp-types.ts';

/** A request for one certificate has about 80 bytes, one with a signature and its chain thousands. */
export const maximumOcspRequestBytes = 8_192;

/** Content octets of the OIDs, as hex. */
const hashOids: Readonly<Record<string, OcspHash>> = {
  '2b0e03021a': 'sha1',
  '608648016503040201': 'sha256',
};

/**
 * Reads an OCSPRequest (RFC 6960, section 4.1) in strict DER, for exactly one certificate, as the
 * profile for answers made in advance demands (RFC 5019, section 2.1.1). Ignores what that profile
 * lets a responder ignore: the name and the signature of the requestor, and extensions that are not
 * critical, the nonce among them. Fails with INVALID_REQUEST.
 */
export function parseOcspRequest(der: Buffer): Result<OcspCertId> {
  if (der.length > maximumOcspRequestBytes)
    return fail('INVALID_REQUEST', `the request has more than ${maximumOcspRequestBytes} bytes`);
  return parsing('INVALID_REQUEST', () => {
    const outer = new DerReader(der);
    const request = outer.sequence('OCSPRequest');
    outer.end('the request');
    const tbs = request.sequence('tbsRequest');
    if (request.more) request.content(tag.context(0), 'optionalSignature');
    request.end('the request');
    // version 1 is the default, which DER does not write
    if (tbs.peek() === tag.context(0)) throw new DerError('the request is not of version 1');
    if (tbs.peek() === tag.context(1)) tbs.content(tag.context(1), 'requestorName');
    const list = tbs.sequence('requestList');
    const single = list.sequence('request');
    if (list.more) throw new DerError('the request is for more than one certificate');
    if (tbs.more) refuseCritical(tbs.enter(tag.context(2), 'requestExtensions'));
    tbs.end('the extensions');
    const certId = readCertId(single.sequence('reqCert'));
    if (single.more) refuseCritical(single.enter(tag.context(0), 'singleRequestExtensions'));
    single.end('a request');
    return ok(certId);
  });
}

function readCertId(certId: DerReader): OcspCertId {
  const algorithm = certId.sequence('hashAlgorithm');
  const oid = algorithm.oidHex('hashAlgorithm');
  // RFC 3370 and RFC 5754: parameters are NULL or absent
  if (algorithm.more) algorithm.null('the parameters of the hash');
  algorithm.end('hashAlgorithm');
  const issuerNameHash = certId.content(tag.octetString, 'issuerNameHash');
  const issuerKeyHash = certId.content(tag.octetString, 'issuerKeyHash');
  const serial = certId.integer('serialNumber');
  certId.end('reqCert');
  if ((serial[0] as number) >= 0x80 || serial.length > 21)
    throw new DerError('the serial number is out of range');
  return {
    hash: hashOids[oid],
    issuerNameHash,
    issuerKeyHash,
    serialHex: serial.toString('hex').replace(/^(00)+(?=..)/, ''),
  };
}

/** What a client demands and a responder does not know must not be passed over. */
function refuseCritical(wrapped: DerReader): void {
  const list = wrapped.sequence('extensions');
  wrapped.end('the extensions');
  if (!list.more) throw new DerError('extensions are present and empty');
  while (list.more) {
    const extension = list.sequence('extension');
    extension.oidHex('extension OID');
    const critical = extension.peek() === tag.boolean && extension.boolean('critical');
    extension.content(tag.octetString, 'extension value');
    extension.end('extension');
    if (critical) throw new DerError('the request has a critical extension, and none is supported');
  }
}

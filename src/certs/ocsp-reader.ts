import { ok, type Result } from '../common/errors/index.ts';
import {
  DerError,
  DerReader,
  parsing,
  readGeneralizedTime,
  signatureAlgorithmOf,
  tag,
  type SignatureAlgorithm,
} from '../common/x509/index.ts';

/** An answer for one certificate, as a client reads it. */
export interface ReadOcspAnswer {
  /** SHA-1 of the key of the signer. */
  readonly responderKeyHash: Buffer;
  readonly producedAt: number;
  /** AlgorithmIdentifier of the hash, with tag and length. */
  readonly hashAlgorithmDer: Buffer;
  readonly issuerNameHash: Buffer;
  readonly issuerKeyHash: Buffer;
  readonly serialHex: string;
  readonly status: 'good' | 'revoked' | 'unknown';
  readonly revokedAt: number | undefined;
  readonly reasonCode: number | undefined;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/** A whole OCSPResponse. */
export type ReadOcspResponse =
  | { readonly status: number; readonly answer: undefined }
  | {
      readonly status: 0;
      readonly answer: ReadOcspAnswer;
      readonly tbsDer: Buffer;
      readonly signatureAlgorithm: SignatureAlgorithm | undefined;
      readonly signatureAlgorithmDer: Buffer;
      readonly signature: Buffer;
      readonly certificatesDer: readonly Buffer[];
    };

/**
 * Reads the ResponseData of an answer in the form that this CA makes (RFC 6960, section 4.2.1, by
 * the profile of RFC 5019): by key, for one certificate, with nextUpdate and without extensions.
 * Strict DER. It shares no code with the builder. Fails with CERTIFICATE_MALFORMED.
 */
export function parseOcspTbs(tbsDer: Buffer): Result<ReadOcspAnswer> {
  return parsing('CERTIFICATE_MALFORMED', () => {
    const outer = new DerReader(tbsDer);
    const answer = readAnswer(outer);
    outer.end('the ResponseData');
    return ok(answer);
  });
}

const basicType = '2b0601050507300101';

/** Reads an OCSPResponse with such an answer, or with an error. Verifies no signature. */
export function parseOcspResponse(der: Buffer): Result<ReadOcspResponse> {
  return parsing<ReadOcspResponse>('CERTIFICATE_MALFORMED', () => {
    const outer = new DerReader(der);
    const response = outer.sequence('OCSPResponse');
    outer.end('the response');
    const [status = -1, ...rest] = response.content(tag.enumerated, 'responseStatus');
    if (rest.length > 0 || status < 0 || status > 6 || status === 4)
      throw new DerError('the status of the response is not defined');
    if (status !== 0) {
      response.end('the status of an error');
      return ok({ status, answer: undefined });
    }
    const bytes = response.enter(tag.context(0), 'responseBytes').sequence('responseBytes');
    response.end('the response');
    if (bytes.oidHex('responseType') !== basicType)
      throw new DerError('the response is not a BasicOCSPResponse');
    const wrapped = bytes.enter(tag.octetString, 'response');
    bytes.end('the response');
    const basic = wrapped.sequence('BasicOCSPResponse');
    wrapped.end('the BasicOCSPResponse');
    const start = basic.offset;
    const answer = readAnswer(basic);
    const tbsDer = basic.since(start);
    const signatureAlgorithmDer = basic.element(tag.sequence, 'signatureAlgorithm');
    const signature = basic.octetBits('signature');
    const certificatesDer: Buffer[] = [];
    const list = basic.enter(tag.context(0), 'certs').sequence('certs');
    while (list.more) certificatesDer.push(list.element(tag.sequence, 'a certificate'));
    basic.end('the certificates');
    return ok({
      status: 0,
      answer,
      tbsDer,
      signatureAlgorithm: signatureAlgorithmOf(signatureAlgorithmDer),
      signatureAlgorithmDer,
      signature,
      certificatesDer,
    });
  });
}

function readAnswer(outer: DerReader): ReadOcspAnswer {
  const data = outer.sequence('ResponseData');
  const byKey = data.enter(tag.context(2), 'responderID byKey');
  const responderKeyHash = byKey.content(tag.octetString, 'KeyHash');
  byKey.end('the KeyHash');
  const producedAt = readGeneralizedTime(data, 'producedAt');
  const responses = data.sequence('responses');
  const single = responses.sequence('SingleResponse');
  responses.end('the SingleResponse');
  data.end('the responses');
  const certId = single.sequence('certID');
  const hashAlgorithmDer = certId.element(tag.sequence, 'hashAlgorithm');
  const issuerNameHash = certId.content(tag.octetString, 'issuerNameHash');
  const issuerKeyHash = certId.content(tag.octetString, 'issuerKeyHash');
  const serial = certId.integer('serialNumber');
  certId.end('certID');
  if ((serial[0] as number) >= 0x80) throw new DerError('the serial number is negative');
  const status = readStatus(single);
  const thisUpdate = readGeneralizedTime(single, 'thisUpdate');
  const until = single.enter(tag.context(0), 'nextUpdate');
  const nextUpdate = readGeneralizedTime(until, 'nextUpdate');
  until.end('nextUpdate');
  single.end('the SingleResponse');
  return {
    responderKeyHash,
    producedAt,
    hashAlgorithmDer,
    issuerNameHash,
    issuerKeyHash,
    serialHex: serial.toString('hex').replace(/^00(?=..)/, ''),
    ...status,
    thisUpdate,
    nextUpdate,
  };
}

function readStatus(
  single: DerReader,
): Pick<ReadOcspAnswer, 'status' | 'revokedAt' | 'reasonCode'> {
  if (single.peek() === tag.context(1)) {
    const info = single.enter(tag.context(1), 'revoked');
    const revokedAt = readGeneralizedTime(info, 'revocationTime');
    let reasonCode: number | undefined;
    if (info.more) {
      const wrapped = info.enter(tag.context(0), 'revocationReason');
      const [code, ...rest] = wrapped.content(tag.enumerated, 'revocationReason');
      if (code === undefined || rest.length > 0) throw new DerError('a reason is out of range');
      wrapped.end('revocationReason');
      reasonCode = code;
    }
    info.end('revoked');
    return { status: 'revoked', revokedAt, reasonCode };
  }
  const unknown = single.peek() === tag.contextPrimitive(2);
  const content = single.content(tag.contextPrimitive(unknown ? 2 : 0), 'certStatus');
  if (content.length > 0) throw new DerError('a certStatus has content');
  return {
    status: unknown ? 'unknown' : 'good',
    revokedAt: undefined,
    reasonCode: undefined,
  };
}

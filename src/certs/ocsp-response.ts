import { hash as digest } from 'node:crypto';
import { PkiError } from '../common/errors/index.ts';
import {
  DerReader,
  derWriter,
  encodeGeneralizedTime,
  tag,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import { reasonCodes } from './crl-tbs.ts';
import { signatureAlgorithmDer } from './fields.ts';
import {
  ocspErrors,
  type OcspAnswer,
  type OcspError,
  type OcspHash,
  type OcspResponder,
} from './ocsp-types.ts';

const {
  bitString,
  context,
  contextPrimitive,
  der,
  derNull,
  octetString,
  oid,
  sequence,
  unsignedInteger,
} = derWriter;

/** With NULL, as common clients write it, some of which compare whole CertIDs. */
const hashAlgorithms: Readonly<Record<OcspHash, Buffer>> = {
  sha1: sequence(oid('1.3.14.3.2.26'), derNull()),
  sha256: sequence(oid('2.16.840.1.101.3.4.2.1'), derNull()),
};

/** Hashes of the name and of the key of an issuer (RFC 6960, section 4.1.1). */
export interface OcspIssuerHashes {
  readonly name: Buffer;
  readonly key: Buffer;
}

export const ocspIssuerHashes = (
  { subjectDer, spkiDer }: Pick<ParsedCertificate, 'subjectDer' | 'spkiDer'>,
  algorithm: OcspHash,
): OcspIssuerHashes => ({
  name: digest(algorithm, subjectDer, 'buffer'),
  key: digest(algorithm, publicKeyBits(spkiDer), 'buffer'),
});

/** The content of the BIT STRING, without its octet of unused bits. */
function publicKeyBits(spkiDer: Buffer): Buffer {
  const spki = new DerReader(spkiDer).sequence('subjectPublicKeyInfo');
  spki.content(tag.sequence, 'algorithm');
  return spki.octetBits('subjectPublicKey');
}

/** What all answers of one responder share. Made once per responder object, dropped with it. */
interface ResponderParts {
  /** responderID, byKey. */
  readonly id: Buffer;
  /** The fields of a CertID before its serial. */
  readonly certId: Readonly<Record<OcspHash, Buffer>>;
  /** signatureAlgorithm of a BasicOCSPResponse, and its certs. */
  readonly algorithm: Buffer;
  readonly certificates: Buffer;
}

const partsOf = new WeakMap<OcspResponder, ResponderParts>();

function responderParts(responder: OcspResponder): ResponderParts {
  let parts = partsOf.get(responder);
  if (parts === undefined) {
    const { issuer, signer } = responder;
    const certId = (algorithm: OcspHash): Buffer => {
      const { name, key } = ocspIssuerHashes(issuer, algorithm);
      return Buffer.concat([hashAlgorithms[algorithm], octetString(name), octetString(key)]);
    };
    parts = {
      // KeyHash is SHA-1 whatever the CertID has (RFC 6960, section 4.2.1)
      id: context(2, octetString(ocspIssuerHashes(signer, 'sha1').key)),
      certId: { sha1: certId('sha1'), sha256: certId('sha256') },
      algorithm: signatureAlgorithmDer(signer.spkiDer),
      certificates: context(0, sequence(signer.raw)),
    };
    partsOf.set(responder, parts);
  }
  return parts;
}

/**
 * The form of the bytes that `buildOcspTbs` makes. Signatures are kept without the bytes that they
 * sign: whoever changes a byte must raise this number, so that kept signatures are made anew.
 */
export const ocspForm = 1;

/**
 * The ResponseData of an answer for one certificate (RFC 6960, section 4.2.1), with the CertID of
 * this hash. There is one answer for each hash, since some servers refuse a staple with two. It has
 * no nonce, because it is made in advance. The same input gives the same bytes. It must pass
 * `lintOcsp` before it is signed.
 *
 * @throws PkiError LINT_FAILED
 */
export function buildOcspTbs(responder: OcspResponder, answer: OcspAnswer, of: OcspHash): Buffer {
  if (answer.nextUpdate <= answer.thisUpdate)
    throw new PkiError('LINT_FAILED', 'an OCSP answer must end after it begins');
  const { id, certId } = responderParts(responder);
  return sequence(
    id,
    encodeGeneralizedTime(answer.producedAt),
    sequence(
      sequence(
        sequence(certId[of], serialInteger(answer.serialHex)),
        statusOf(answer),
        encodeGeneralizedTime(answer.thisUpdate),
        context(0, encodeGeneralizedTime(answer.nextUpdate)),
      ),
    ),
  );
}

function serialInteger(serialHex: string): Buffer {
  if (!/^([0-9a-f]{2}){1,20}$/.test(serialHex))
    throw new PkiError('LINT_FAILED', `${JSON.stringify(serialHex)} is not a hexadecimal serial`);
  return unsignedInteger(Buffer.from(serialHex, 'hex'));
}

const good = contextPrimitive(0, Buffer.alloc(0));

function statusOf({ revoked }: OcspAnswer): Buffer {
  if (revoked === undefined) return good;
  const { at, reason } = revoked;
  const time = encodeGeneralizedTime(at);
  return reason === undefined
    ? context(1, time)
    : context(1, time, context(0, der(tag.enumerated, Buffer.of(reasonCodes[reason]))));
}

const basicType = oid('1.3.6.1.5.5.7.48.1.1');
const successful = der(tag.enumerated, Buffer.of(0));

/** The whole OCSPResponse: the signed answer, with the certificate of its signer. */
export function assembleOcsp(
  responder: OcspResponder,
  tbsDer: Buffer,
  signature: Uint8Array,
): Buffer {
  const { algorithm, certificates } = responderParts(responder);
  const basic = sequence(tbsDer, algorithm, bitString(signature), certificates);
  return sequence(successful, context(0, sequence(basicType, octetString(basic))));
}

/** An OCSPResponse without an answer. Nobody signs it (RFC 6960, section 4.2.1). */
export const ocspErrorResponse = (error: OcspError): Buffer =>
  sequence(der(tag.enumerated, Buffer.of(ocspErrors[error])));

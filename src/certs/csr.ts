import { fail, ok, type Result } from '../common/errors/index.ts';
import {
  DerError,
  DerReader,
  keyTypeOfSpki,
  parsing,
  readExtensions,
  readName,
  signatureAlgorithmOf,
  tag,
  type AltNames,
} from '../common/x509/index.ts';
import { extensionOids } from './fields.ts';
import type { ParsedCsr } from './types.ts';

const maximumCsrBytes = 16_384;
const maximumAttributes = 16;
const extensionRequest = '2a864886f70d01090e';
const noNames: AltNames = { uris: [], dnsNames: [], ips: [], otherKinds: [] };

/** What a request asks for by its attributes. */
interface Requested {
  readonly names: AltNames;
  readonly tlsFeature: boolean;
}
const nothing: Requested = { names: noNames, tlsFeature: false };

/**
 * Reads a PKCS#10 request (RFC 2986, section 4) in strict DER, up to its last byte. Attributes must
 * have the structure of DER, but not its order, and may be absent, as common tools write them.
 * Checks the public key and the signature algorithm. Does not verify the signature: see `proof`.
 *
 * Fails with CSR_MALFORMED, CSR_SIGNATURE_INVALID (the algorithm is not accepted or does not fit
 * the key), KEY_UNSUPPORTED or KEY_WEAK.
 */
export function parseCsr(der: Buffer): Result<ParsedCsr> {
  if (der.length > maximumCsrBytes)
    return fail(
      'CSR_MALFORMED',
      `the request has ${der.length} bytes, more than ${maximumCsrBytes}`,
    );
  return parsing('CSR_MALFORMED', () => {
    const outer = new DerReader(der);
    const request = outer.sequence('request');
    outer.end('the request');
    const start = request.offset;
    const info = request.sequence('certificationRequestInfo');
    const signedBytes = request.since(start);
    if (info.smallInteger('version') !== 0) throw new DerError('the request is not of version 0');
    const subjectDer = readName(info, 'subject');
    const spkiDer = info.element(tag.sequence, 'subjectPKInfo');
    const { names, tlsFeature } = info.more
      ? readAttributes(info.enter(tag.context(0), 'attributes'))
      : nothing;
    info.end('the attributes');
    const algorithmDer = request.element(tag.sequence, 'signatureAlgorithm');
    const signature = request.octetBits('signature');
    request.end('the signature');
    const keyType = keyTypeOfSpki(spkiDer);
    if (!keyType.ok) return keyType;
    const algorithm = signatureAlgorithmOf(algorithmDer);
    if (algorithm === undefined)
      return fail(
        'CSR_SIGNATURE_INVALID',
        'the signature algorithm of the request is not accepted; accepted are ECDSA and RSA ' +
          '(PKCS #1 v1.5) with SHA-256, SHA-384 or SHA-512',
      );
    if (algorithm.startsWith('rsa') !== keyType.value.startsWith('rsa'))
      return fail(
        'CSR_SIGNATURE_INVALID',
        'the signature algorithm of the request does not fit its key',
      );
    return ok({
      raw: der,
      spkiDer,
      keyType: keyType.value,
      proof: { spkiDer, signedBytes, signature, algorithm },
      subjectDer,
      subjectIsEmpty: subjectDer.length === 2,
      uriSans: names.uris,
      dnsSans: names.dnsNames,
      ipSans: names.ips,
      otherSanKinds: names.otherKinds,
      commonNames: subjectDer.length === 2 ? [] : commonNamesOf(subjectDer),
      wantsTlsFeature: tlsFeature,
    });
  });
}

const commonNameType = '550403';
/** UTF8String, PrintableString, IA5String. */
const textTags: ReadonlySet<number> = new Set([0x0c, 0x13, 0x16]);

/** The common names of a Name that `readName` has checked. */
function commonNamesOf(subjectDer: Buffer): readonly string[] {
  const names: string[] = [];
  const name = new DerReader(subjectDer).sequence('subject');
  while (name.more) {
    const set = name.enter(tag.set, 'subject');
    while (set.more) {
      const attribute = set.sequence('subject');
      const type = attribute.oidHex('subject');
      const value = attribute.any('subject');
      // a text in another encoding matches no name
      if (type === commonNameType)
        names.push(textTags.has(value.tag) ? value.content.toString('utf8') : '');
    }
  }
  return names;
}

/**
 * Reads a SET OF Attribute. No type may appear twice. Many tools do not write the order of DER, which
 * does not change the request.
 */
function readAttributes(attributes: DerReader): Requested {
  let found = nothing;
  const types: string[] = [];
  while (attributes.more) {
    const attribute = attributes.sequence('attribute');
    const type = attribute.oidHex('attribute type');
    if (types.includes(type)) throw new DerError('an attribute appears twice');
    if (types.length === maximumAttributes)
      throw new DerError(`the request has more than ${maximumAttributes} attributes`);
    types.push(type);
    const values = attribute.enter(tag.set, 'attribute values');
    attribute.end('the attribute');
    if (!values.more) throw new DerError('an attribute has no value');
    if (type !== extensionRequest) {
      while (values.more) values.any('attribute value');
      continue;
    }
    const requested = readExtensions(values.sequence('extensionRequest'), { asRequested: true });
    found = {
      names: requested.subjectAltName ?? noNames,
      tlsFeature: requested.extensionOids.includes(extensionOids.tlsFeature),
    };
    values.end('the requested extensions');
  }
  return found;
}

import { unwrap } from '../../../src/common/errors/index.ts';
import {
  csrFromPem,
  DerReader,
  parsing,
  readExtensions,
  readName,
  tag,
} from '../../../src/common/x509/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';

export interface ReadRequest {
  readonly csrDer: Buffer;
  readonly spkiDer: Buffer;
  /** The URIs that it names. */
  readonly uris: readonly string[];
}

const extensionRequest = '2a864886f70d01090e';

/**
 * Reads of a PKCS#10 request (RFC 2986, section 4) what the agent needs to know. The server reads it
 * again, strictly, and checks key and signature. Throws CSR_MALFORMED.
 */
export function readRequest(pem: string): ReadRequest {
  if (pem === '') throw new PkiError('CSR_MALFORMED', 'the request has no CSR');
  const csrDer = unwrap(csrFromPem(pem));
  return unwrap(
    parsing('CSR_MALFORMED', () => {
      const info = new DerReader(csrDer).sequence('request').sequence('certificationRequestInfo');
      info.smallInteger('version');
      readName(info, 'subject');
      const spkiDer = info.element(tag.sequence, 'subjectPKInfo');
      const uris = info.more ? urisOf(info.enter(tag.context(0), 'attributes')) : [];
      return { ok: true, value: { csrDer, spkiDer, uris } };
    }),
  );
}

function urisOf(attributes: DerReader): readonly string[] {
  while (attributes.more) {
    const attribute = attributes.sequence('attribute');
    if (attribute.oidHex('attribute type') !== extensionRequest) continue;
    const values = attribute.enter(tag.set, 'attribute values');
    const requested = readExtensions(values.sequence('extensionRequest'), { asRequested: true });
    return requested.subjectAltName?.uris ?? [];
  }
  return [];
}

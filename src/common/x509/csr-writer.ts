import { sign, type KeyObject } from 'node:crypto';
import { unwrap } from '../errors/index.ts';
import {
  bitString,
  context,
  contextPrimitive,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
} from './der-writer.ts';
import { spkiOf } from './keys.ts';
import { signatureAlgorithmFor } from './signature-algorithm.ts';
import { keyTypeOfSpki } from './spki.ts';

export interface CsrOptions {
  /** Requested as the only SAN, in an extensionRequest attribute. */
  readonly uriSan?: string;
}

const version0 = integer(0);
const emptyName = sequence();
const extensionRequest = oid('1.2.840.113549.1.9.14');
const subjectAltName = oid('2.5.29.17');

/**
 * A PKCS#10 request (RFC 2986) with an empty subject: the CA takes the identity from
 * authentication. Throws KEY_UNSUPPORTED.
 */
export function createCsr(privateKey: KeyObject, options: CsrOptions = {}): Buffer {
  const spkiDer = spkiOf(privateKey);
  const scheme = signatureAlgorithmFor(unwrap(keyTypeOfSpki(spkiDer)));
  const info = sequence(
    version0,
    emptyName,
    spkiDer,
    options.uriSan === undefined ? context(0) : context(0, sanRequest(options.uriSan)),
  );
  return sequence(
    info,
    scheme.algorithmIdentifierDer,
    bitString(sign(scheme.hash, info, privateKey)),
  );
}

const sanRequest = (uri: string): Buffer =>
  sequence(
    extensionRequest,
    setOf(
      sequence(
        sequence(
          subjectAltName,
          octetString(sequence(contextPrimitive(6, Buffer.from(uri, 'latin1')))),
        ),
      ),
    ),
  );

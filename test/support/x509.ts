import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { unwrap } from '../../src/common/errors/index.ts';
import {
  derWriter,
  encodeTime,
  keyIdentifierOf,
  keyTypeOfSpki,
  parseCertificate,
  signatureAlgorithmFor,
  spkiOf,
  type KeyType,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';

const {
  bitString,
  context,
  contextPrimitive,
  der,
  derTrue,
  integer,
  namedBits,
  octetString,
  oid,
  sequence,
  setOf,
  utf8String,
} = derWriter;

/** A fixed instant: tests of this folder do not read the clock. */
export const now = Date.UTC(2026, 5, 1, 12) / 1000;
export const day = 86_400;

export interface TestKey {
  readonly keyType: KeyType;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly spkiDer: Buffer;
}

export function makeKey(keyType: KeyType = 'ec-p256'): TestKey {
  const pair = keyType.startsWith('ec')
    ? generateKeyPairSync('ec', { namedCurve: keyType === 'ec-p256' ? 'P-256' : 'P-384' })
    : generateKeyPairSync('rsa', {
        modulusLength: Number(keyType.slice(4)),
        publicExponent: 65537,
      });
  return { keyType, ...pair, spkiDer: spkiOf(pair.publicKey) };
}

/** Signs as an authority with this key would. */
export const signWith = (key: TestKey, bytes: Buffer): Buffer =>
  sign(signatureAlgorithmFor(key.keyType).hash, bytes, key.privateKey);

export const commonName = (text: string): Buffer =>
  sequence(setOf(sequence(oid('2.5.4.3'), utf8String(text))));

export const extension = (dotted: string, critical: boolean, value: Buffer): Buffer =>
  sequence(oid(dotted), ...(critical ? [derTrue()] : []), octetString(value));

export const serverAuthorityOid =
  '1.2.840.113556.1.8000.2554.14914.56170.64652.20426.42641.10257499.7236474';

export const extensions = {
  keyUsage: (bits: readonly number[], critical = true) =>
    extension('2.5.29.15', critical, namedBits(bits)),
  basicConstraints: (isCa: boolean, pathLength?: number) =>
    extension(
      '2.5.29.19',
      true,
      sequence(
        ...(isCa ? [derTrue()] : []),
        ...(pathLength === undefined ? [] : [integer(pathLength)]),
      ),
    ),
  extendedKeyUsage: (...oids: readonly string[]) =>
    extension('2.5.29.37', false, sequence(...oids.map(oid))),
  san: (uris: readonly string[], dnsNames: readonly string[] = [], critical = true) =>
    extension(
      '2.5.29.17',
      critical,
      sequence(
        ...uris.map((uri) => contextPrimitive(6, Buffer.from(uri, 'latin1'))),
        ...dnsNames.map((name) => contextPrimitive(2, Buffer.from(name, 'latin1'))),
      ),
    ),
  subjectKeyId: (id: Buffer) => extension('2.5.29.14', false, octetString(id)),
  authorityKeyId: (id: Buffer) => extension('2.5.29.35', false, sequence(contextPrimitive(0, id))),
  /** The mark of a server's own authorities: docs/decisions/0009-who-stands-above-reserved-ids.md. */
  serverAuthority: () => extension(serverAuthorityOid, false, Buffer.from([5, 0])),
};

export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const clientAuth = '1.3.6.1.5.5.7.3.2';
export const bits = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const;

export interface TestCertificate {
  readonly key: TestKey;
  readonly subject: Buffer;
  readonly parsed: ParsedCertificate;
}

export interface CertificateShape {
  readonly key?: TestKey;
  readonly subject?: Buffer;
  /** undefined: self-signed. */
  readonly issuer?: TestCertificate;
  /** Stated instead of the issuer's subject. */
  readonly issuerName?: Buffer;
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly extensions: readonly Buffer[];
  readonly serial?: Buffer;
  readonly corruptSignature?: boolean;
  readonly algorithm?: Buffer;
}

/** Makes any certificate, right or wrong: what the product's own builder refuses to make. */
export function makeDer(
  shape: CertificateShape & { readonly key: TestKey; readonly subject: Buffer },
): Buffer {
  const signer = shape.issuer?.key ?? shape.key;
  const algorithm =
    shape.algorithm ??
    signatureAlgorithmFor(unwrap(keyTypeOfSpki(signer.spkiDer))).algorithmIdentifierDer;
  const tbs = sequence(
    context(0, integer(2)),
    shape.serial === undefined ? integer(1_000_003) : der(0x02, shape.serial),
    algorithm,
    shape.issuerName ?? shape.issuer?.subject ?? shape.subject,
    sequence(encodeTime(shape.notBefore ?? now - day), encodeTime(shape.notAfter ?? now + day)),
    shape.subject,
    shape.key.spkiDer,
    context(3, sequence(...shape.extensions)),
  );
  const signature = Buffer.from(signWith(signer, tbs));
  if (shape.corruptSignature === true)
    signature[signature.length - 1] = (signature[signature.length - 1] as number) ^ 1;
  return sequence(tbs, algorithm, bitString(signature));
}

export function makeCertificate(shape: CertificateShape): TestCertificate {
  const key = shape.key ?? makeKey();
  const subject = shape.subject ?? sequence();
  return { key, subject, parsed: unwrap(parseCertificate(makeDer({ ...shape, key, subject }))) };
}

export function makeAuthority(
  name: string,
  shape: Partial<CertificateShape> & {
    readonly pathLength?: number;
    /** Extensions beside the usual ones. */
    readonly more?: readonly Buffer[];
  } = {},
): TestCertificate {
  const key = shape.key ?? makeKey();
  return makeCertificate({
    subject: commonName(name),
    extensions: [
      extensions.basicConstraints(true, shape.pathLength),
      extensions.keyUsage([bits.keyCertSign, bits.cRLSign]),
      extensions.subjectKeyId(keyIdentifierOf(key.spkiDer)),
      ...(shape.issuer === undefined
        ? []
        : [extensions.authorityKeyId(keyIdentifierOf(shape.issuer.key.spkiDer))]),
      ...(shape.more ?? []),
    ],
    ...shape,
    key,
  });
}

/** The extensions of a good leaf, each of which may be replaced, or left out with `null`. */
export function leafExtensions(
  issuer: TestCertificate,
  change: Readonly<Record<string, Buffer | null>> = {},
): readonly Buffer[] {
  const parts: Record<string, Buffer | null> = {
    keyUsage: extensions.keyUsage([bits.digitalSignature]),
    basicConstraints: extensions.basicConstraints(false),
    extendedKeyUsage: extensions.extendedKeyUsage(serverAuth, clientAuth),
    san: extensions.san(['spiffe://example.org/ns/shop/sa/cart']),
    authorityKeyId: extensions.authorityKeyId(keyIdentifierOf(issuer.key.spkiDer)),
    ...change,
  };
  return Object.values(parts).filter((part) => part !== null);
}

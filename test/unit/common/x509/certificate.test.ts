import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { derWriter, parseCertificate } from '../../../../src/common/x509/index.ts';
import {
  bits,
  commonName,
  day,
  extension,
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  makeDer,
  makeKey,
  now,
} from '../../../support/x509.ts';

const {
  bitString,
  context,
  contextPrimitive,
  der,
  derNull,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  utf8String,
} = derWriter;
const key = makeKey();
const root = makeAuthority('root');
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const codeOf = (bytes: Buffer): string => {
  const result = parseCertificate(bytes);
  return result.ok ? 'OK' : result.error.code;
};
const make = (...parts: readonly Buffer[]): Buffer =>
  makeDer({ key, subject: commonName('x'), issuer: root, extensions: parts });

/** A certificate with this subject, or this key. */
const named = (subject: Buffer): Buffer =>
  makeDer({ key, subject, issuer: root, extensions: [extensions.keyUsage([0])] });
const keyed = (spkiDer: Buffer): Buffer =>
  makeDer({
    key: { ...key, spkiDer },
    subject: commonName('x'),
    issuer: root,
    extensions: [extensions.keyUsage([0])],
  });
const spkiWith = (algorithm: Buffer, point: Buffer): Buffer =>
  sequence(algorithm, bitString(point));
const ecAlgorithm = sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));
const rsaAlgorithm = sequence(oid('1.2.840.113549.1.1.1'), derNull());

suite('parseCertificate', () => {
  test('reads every field of a leaf', () => {
    const leaf = makeCertificate({
      key,
      issuer: root,
      subject: commonName('cart'),
      extensions: leafExtensions(root, {
        san: extensions.san(['spiffe://example.org/a'], ['a.example.org']),
      }),
    });
    const { parsed } = leaf;
    assert.equal(parsed.serialHex, '0f4243');
    assert.ok(
      parsed.issuerDer.equals(root.subject) &&
        parsed.subjectDer.equals(leaf.subject) &&
        parsed.spkiDer.equals(key.spkiDer),
    );
    assert.deepEqual([parsed.notBefore, parsed.notAfter], [now - day, now + day]);
    assert.deepEqual(
      [parsed.uriSans, parsed.dnsSans, parsed.otherSanKinds, parsed.sanCritical],
      [['spiffe://example.org/a'], ['a.example.org'], [], true],
    );
    assert.deepEqual(
      [parsed.isCa, parsed.pathLength, parsed.basicConstraintsCritical],
      [false, undefined, true],
    );
    assert.deepEqual([...(parsed.keyUsage?.names ?? [])], ['digitalSignature']);
    assert.equal(parsed.authorityKeyId, root.parsed.subjectKeyId);
    assert.equal(parsed.signatureAlgorithm, 'ecdsa-sha256');
    assert.deepEqual(parsed.extensionOids, [
      '2.5.29.15',
      '2.5.29.19',
      '2.5.29.37',
      '2.5.29.17',
      '2.5.29.35',
    ]);
    assert.deepEqual(parsed.criticalExtensionOids, ['2.5.29.15', '2.5.29.19', '2.5.29.17']);
    assert.deepEqual(parsed.unknownCriticalExtensions, []);
    assert.ok(parsed.raw.includes(parsed.tbsDer) && parsed.raw.includes(parsed.signature));
  });

  test('reads all key usage bits, distribution points and critical extensions that nobody knows', () => {
    const point = sequence(
      context(
        0,
        context(
          0,
          contextPrimitive(6, Buffer.from('http://a/1.crl')),
          contextPrimitive(6, Buffer.from('ldap://b')),
        ),
      ),
    );
    const parsed = unwrap(
      parseCertificate(
        make(
          extensions.keyUsage([0, 1, 2, 3, 4, 5, 6, 7, 8]),
          extension('2.5.29.31', true, sequence(point, point)),
          extension('1.2.3', true, hex('0500')),
          extension('1.2.4', false, hex('0500')),
        ),
      ),
    );
    assert.equal(parsed.keyUsage?.names.size, 9);
    assert.deepEqual(parsed.crlDistributionPoints, [
      'http://a/1.crl',
      'ldap://b',
      'http://a/1.crl',
      'ldap://b',
    ]);
    // a critical distribution point would have to be followed, which nobody here does
    assert.deepEqual(parsed.unknownCriticalExtensions, ['2.5.29.31', '1.2.3']);
  });

  const broken: readonly (readonly [string, Buffer])[] = [
    ['bytes behind the certificate', Buffer.concat([root.parsed.raw, Buffer.alloc(1)])],
    ['an extension twice', make(extensions.keyUsage([0]), extensions.keyUsage([0]))],
    ['no extension at all', make()],
    ['critical FALSE', make(sequence(oid('1.2.3'), hex('010100'), octetString(hex('0500'))))],
    ['cA FALSE', make(extension('2.5.29.19', true, hex('3003010100')))],
    ['BER TRUE', make(extension('2.5.29.19', true, hex('3003010101')))],
    ['pathLen without cA', make(extension('2.5.29.19', true, sequence(integer(0))))],
    ['a negative pathLen', make(extension('2.5.29.19', true, hex('30060101ff0201ff')))],
    ['key usage with a trailing zero bit', make(extension('2.5.29.15', true, hex('03020080')))],
    ['key usage without bits', make(extension('2.5.29.15', true, hex('030100')))],
    [
      'key usage with bits set among the unused',
      make(extension('2.5.29.15', true, hex('03020781'))),
    ],
    ['key usage with a tenth bit', make(extension('2.5.29.15', true, hex('0303060040')))],
    ['bytes behind the value of an extension', make(extension('2.5.29.19', true, hex('300000')))],
    ['noRevAvail that is not NULL', make(extension('2.5.29.56', false, hex('3000')))],
    ['a critical noRevAvail', make(extension('2.5.29.56', true, hex('0500')))],
    ['a critical SKI', make(extension('2.5.29.14', true, octetString(hex('0102'))))],
    [
      'a critical AKI',
      make(extension('2.5.29.35', true, sequence(contextPrimitive(0, hex('0102'))))),
    ],
    [
      'noRevAvail beside a distribution point',
      make(
        extension('2.5.29.56', false, hex('0500')),
        extension(
          '2.5.29.31',
          false,
          sequence(sequence(context(0, context(0, contextPrimitive(6, Buffer.from('http://a')))))),
        ),
      ),
    ],
    [
      'noRevAvail beside a freshest CRL',
      make(extension('2.5.29.56', false, hex('0500')), extension('2.5.29.46', false, hex('3000'))),
    ],
    [
      'noRevAvail beside an OCSP responder',
      make(
        extension('2.5.29.56', false, hex('0500')),
        extension(
          '1.3.6.1.5.5.7.1.1',
          false,
          sequence(
            sequence(oid('1.3.6.1.5.5.7.48.1'), contextPrimitive(6, Buffer.from('http://a'))),
          ),
        ),
      ),
    ],
    [
      'noRevAvail in a CA certificate',
      make(extensions.basicConstraints(true), extension('2.5.29.56', false, hex('0500'))),
    ],
    ...(
      [
        ['an empty text', der(0x0c)],
        ['a PrintableString with an at sign', der(0x13, Buffer.from('a@b'))],
        ['a UTF8String that is none', der(0x0c, hex('c328'))],
        ['an IA5String with an umlaut', der(0x16, hex('e4'))],
        ['half a character of a BMPString', der(0x1e, hex('00'))],
      ] as const
    ).map(
      ([what, value]) =>
        [`a name with ${what}`, named(sequence(setOf(sequence(oid('2.5.4.3'), value))))] as const,
    ),
    [
      'a name with an RDN out of order',
      named(
        sequence(
          der(
            0x31,
            sequence(oid('2.5.4.10'), utf8String('b')),
            sequence(oid('2.5.4.3'), utf8String('a')),
          ),
        ),
      ),
    ],
    [
      'a name with a type that is no OID',
      named(sequence(setOf(sequence(der(0x06), utf8String('a'))))),
    ],
    ['a key with bytes behind it', keyed(sequence(key.spkiDer.subarray(2), hex('00')))],
    ['an EC point that is too short', keyed(spkiWith(ecAlgorithm, hex('0401')))],
    ['an EC point of no form', keyed(spkiWith(ecAlgorithm, Buffer.alloc(65)))],
    [
      'an RSA key without NULL',
      keyed(spkiWith(sequence(oid('1.2.840.113549.1.1.1')), sequence(integer(5), integer(3)))),
    ],
    [
      'an RSA key with a negative modulus',
      keyed(spkiWith(rsaAlgorithm, sequence(der(0x02, hex('ff01')), integer(3)))),
    ],
    [
      'an RSA key with a third number',
      keyed(spkiWith(rsaAlgorithm, sequence(integer(5), integer(3), integer(1)))),
    ],
    ['an empty extended key usage', make(extension('2.5.29.37', false, hex('3000')))],
    ['an empty SAN', make(extension('2.5.29.17', false, hex('3000')))],
    ['a SAN with a name of no known kind', make(extension('2.5.29.17', false, hex('30028900')))],
    ['a URI with a NUL', make(extensions.san(['spiffe://a/b\u0000c']))],
    ['a DNS name with a NUL', make(extensions.san([], ['a\u0000.example.org']))],
    [
      'a negative serial',
      makeDer({
        key,
        subject: commonName('x'),
        issuer: root,
        extensions: [extensions.keyUsage([bits.digitalSignature])],
        serial: hex('ff00'),
      }),
    ],
    [
      'a padded serial',
      makeDer({
        key,
        subject: commonName('x'),
        issuer: root,
        extensions: [extensions.keyUsage([bits.digitalSignature])],
        serial: hex('0001'),
      }),
    ],
    [
      'a serial of 21 octets',
      makeDer({
        key,
        subject: commonName('x'),
        issuer: root,
        extensions: [extensions.keyUsage([bits.digitalSignature])],
        serial: Buffer.alloc(21, 1),
      }),
    ],
    [
      'an empty issuer',
      makeDer({
        key,
        subject: commonName('x'),
        issuer: root,
        issuerName: sequence(),
        extensions: [extensions.keyUsage([0])],
      }),
    ],
    ['more than 64 KiB', make(extension('1.2.3', false, octetString(Buffer.alloc(66_000))))],
    ['key usage of three octets', make(extension('2.5.29.15', true, hex('030400800080')))],
    ['key usage with eight unused bits', make(extension('2.5.29.15', true, hex('03020880')))],
    ['empty distribution points', make(extension('2.5.29.31', false, hex('3000')))],
    ['an empty key identifier', make(extension('2.5.29.14', false, hex('0400')))],
    [
      '65 extensions',
      make(
        ...Array.from({ length: 65 }, (_, index) => extension(`1.2.${index}`, false, hex('0500'))),
      ),
    ],
    ['something else', der(0x31)],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const [name, bytes] of broken)
    test(`refuses ${name}`, () => assert.equal(codeOf(bytes), 'CERTIFICATE_MALFORMED'));

  test('refuses an outer algorithm that is not the signed one', () => {
    const good = make(extensions.keyUsage([0]));
    const at = good.lastIndexOf(hex('06082a8648ce3d040302'));
    const bad = Buffer.from(good);
    bad[at + 9] = 3;
    assert.equal(codeOf(good), 'OK');
    assert.equal(codeOf(bad), 'CERTIFICATE_MALFORMED');
  });
});

import assert from 'node:assert/strict';
import { verify } from 'node:crypto';
import { suite, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  createCsr,
  derWriter,
  hashOf,
  keyTypes,
  signatureAlgorithmFor,
} from '../../../src/common/x509/index.ts';
import { parseCsr } from '../../../src/certs/index.ts';
import { commonName, extension, extensions, makeKey, signWith } from '../../support/x509.ts';

const {
  bitString,
  context,
  contextPrimitive,
  der,
  derNull,
  integer,
  oid,
  sequence,
  setOf,
  utf8String,
} = derWriter;
const key = makeKey();
const ecdsa = signatureAlgorithmFor('ec-p256').algorithmIdentifierDer;
const codeOf = (csr: Buffer): string => {
  const result = parseCsr(csr);
  return result.ok ? 'OK' : result.error.code;
};

interface CsrShape {
  readonly version?: Buffer;
  readonly subject?: Buffer;
  readonly spki?: Buffer;
  readonly attributes?: Buffer;
  readonly algorithm?: Buffer;
}
const make = (shape: CsrShape = {}): Buffer => {
  const info = sequence(
    shape.version ?? integer(0),
    shape.subject ?? sequence(),
    shape.spki ?? key.spkiDer,
    shape.attributes ?? context(0),
  );
  return sequence(info, shape.algorithm ?? ecdsa, bitString(signWith(key, info)));
};
const request = (...parts: readonly Buffer[]): Buffer =>
  sequence(oid('1.2.840.113549.1.9.14'), setOf(sequence(...parts)));
const attribute = (dotted: string, ...values: readonly Buffer[]): Buffer =>
  sequence(oid(dotted), setOf(...values));

suite('parseCsr', () => {
  test('reads what createCsr makes with every key type, and gives a proof that verifies', () => {
    for (const keyType of keyTypes) {
      const own = makeKey(keyType);
      const csr = unwrap(parseCsr(createCsr(own.privateKey, { uriSan: 'spiffe://example.org/a' })));
      assert.equal(csr.keyType, keyType);
      assert.ok(csr.spkiDer.equals(own.spkiDer));
      assert.ok(csr.subjectIsEmpty);
      assert.deepEqual(
        [csr.uriSans, csr.dnsSans, csr.otherSanKinds],
        [['spiffe://example.org/a'], [], []],
      );
      assert.ok(
        verify(
          hashOf(csr.proof.algorithm),
          csr.proof.signedBytes,
          own.publicKey,
          csr.proof.signature,
        ),
      );
    }
  });

  test('tells subject and all requested names, so that a mismatch can be refused', () => {
    const san = extension(
      '2.5.29.17',
      false,
      sequence(
        contextPrimitive(6, Buffer.from('spiffe://example.org/a')),
        contextPrimitive(2, Buffer.from('a.example.org')),
        contextPrimitive(7, Buffer.from([10, 0, 0, 1])),
        context(4, commonName('x')),
        context(0, oid('1.2.3'), context(0, utf8String('root'))),
      ),
    );
    const csr = unwrap(
      parseCsr(make({ subject: commonName('someone'), attributes: context(0, request(san)) })),
    );
    assert.equal(csr.subjectIsEmpty, false);
    assert.ok(csr.subjectDer.equals(commonName('someone')));
    assert.deepEqual(
      [csr.uriSans, csr.dnsSans, csr.otherSanKinds],
      [['spiffe://example.org/a'], ['a.example.org'], ['iPAddress', 'directoryName', 'otherName']],
    );
  });

  test('refuses bytes before, behind and between', () => {
    const good = make();
    assert.equal(codeOf(good), 'OK');
    assert.equal(codeOf(Buffer.concat([good, Buffer.alloc(1)])), 'CSR_MALFORMED');
    assert.equal(codeOf(Buffer.concat([good, good])), 'CSR_MALFORMED');
    assert.equal(codeOf(Buffer.concat([Buffer.alloc(1), good])), 'CSR_MALFORMED');
    assert.equal(codeOf(good.subarray(0, good.length - 1)), 'CSR_MALFORMED');
    assert.equal(codeOf(Buffer.alloc(0)), 'CSR_MALFORMED');
    // the outer length in one octet more than it needs
    assert.equal(
      codeOf(Buffer.concat([Buffer.from([0x30, 0x82, 0x00, good[2] as number]), good.subarray(3)])),
      'CSR_MALFORMED',
    );
    assert.equal(
      codeOf(Buffer.concat([Buffer.from([0x30, 0x80]), good.subarray(3), Buffer.alloc(2)])),
      'CSR_MALFORMED',
    );
  });

  const malformed: readonly (readonly [string, CsrShape])[] = [
    ['another version', { version: integer(1) }],
    ['a padded version', { version: der(2, Buffer.alloc(2)) }],
    ['an attribute without value', { attributes: context(0, attribute('1.2.3')) }],
    [
      'an attribute twice',
      { attributes: context(0, attribute('1.2.3', integer(1)), attribute('1.2.3', integer(2))) },
    ],
    [
      'more than 16 attributes',
      {
        attributes: context(
          0,
          ...Array.from({ length: 17 }, (_, index) => attribute(`1.2.${index}`, integer(1))),
        ),
      },
    ],
    [
      'two extension requests in one attribute',
      {
        attributes: context(
          0,
          sequence(
            oid('1.2.840.113549.1.9.14'),
            setOf(sequence(extensions.san(['a:b'])), sequence(extensions.san(['a:c']))),
          ),
        ),
      },
    ],
    [
      'a requested extension twice',
      { attributes: context(0, request(extensions.san(['a:b']), extensions.san(['a:b']))) },
    ],
    ['an empty SAN', { attributes: context(0, request(extensions.san([]))) }],
    [
      'a SAN with a NUL',
      { attributes: context(0, request(extensions.san(['spiffe://a/b\u0000']))) },
    ],
    [
      'a broken key usage',
      {
        attributes: context(
          0,
          request(extension('2.5.29.15', true, Buffer.from('03020780ff', 'hex'))),
        ),
      },
    ],
    ['an RDN without attribute', { subject: sequence(der(0x31)) }],
  ];
  for (const [name, shape] of malformed)
    test(`refuses ${name}`, () => assert.equal(codeOf(make(shape)), 'CSR_MALFORMED'));

  test('takes what tools write: no attributes, another order, an empty request, stated defaults', () => {
    const caFalse = extension('2.5.29.19', true, sequence(der(0x01, Buffer.of(0))));
    for (const attributes of [
      Buffer.alloc(0),
      context(0, attribute('1.2.4', integer(1)), attribute('1.2.3', integer(1))),
      context(0, request()),
      context(0, request(caFalse)),
    ])
      assert.equal(codeOf(make({ attributes })), 'OK');
  });

  test('refuses keys and algorithms that are not supported, each with its code', () => {
    const off = Buffer.from(key.spkiDer);
    off[90] = (off[90] as number) ^ 1;
    assert.equal(codeOf(make({ spki: off })), 'KEY_WEAK');
    assert.equal(
      codeOf(make({ spki: sequence(sequence(oid('1.3.101.112')), bitString(Buffer.alloc(32))) })),
      'KEY_UNSUPPORTED',
    );
    const sha1 = sequence(oid('1.2.840.10045.4.1'));
    const rsa = signatureAlgorithmFor('rsa-2048').algorithmIdentifierDer;
    const withNull = sequence(oid('1.2.840.10045.4.3.2'), derNull());
    for (const algorithm of [sha1, rsa, withNull])
      assert.equal(codeOf(make({ algorithm })), 'CSR_SIGNATURE_INVALID');
  });

  test('refuses more than 16 KiB before it reads any of it', () => {
    assert.equal(codeOf(make({ subject: commonName('x'.repeat(16_384)) })), 'CSR_MALFORMED');
    assert.equal(codeOf(make({ subject: commonName('x'.repeat(15_000)) })), 'OK');
  });
});

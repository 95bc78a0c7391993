import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildCrlTbs, confirmReading, readCrlTwice, readTwice } from '../../../src/certs/index.ts';
import { derWriter, keyTypes, type ParsedCertificate } from '../../../src/common/x509/index.ts';
import {
  bits,
  clientAuth,
  commonName,
  extension,
  extensions,
  makeAuthority,
  makeCertificate,
  makeKey,
  now,
  day,
  serverAuth,
} from '../../support/x509.ts';

const { contextPrimitive, context, sequence } = derWriter;
const agreed = { ok: true, value: undefined };

describe('the second reader of certificates', () => {
  test('agrees on authorities of all key types', async () => {
    for (const keyType of keyTypes) {
      const { parsed } = makeAuthority('root', { key: makeKey(keyType), pathLength: 3 });
      assert.deepEqual(await readTwice(parsed.tbsDer), agreed, keyType);
    }
  });

  test('agrees on what foreign CAs write', async () => {
    const key = makeKey();
    const point = (...uris: readonly string[]): Buffer =>
      sequence(context(0, context(0, ...uris.map((uri) => contextPrimitive(6, Buffer.from(uri))))));
    const { parsed } = makeCertificate({
      key,
      subject: commonName('Größte Prüfstelle 漢字'),
      // the sign octet belongs to the encoding alone
      serial: Buffer.concat([Buffer.alloc(1), Buffer.alloc(19, 0xff)]),
      notBefore: Date.UTC(1951, 0, 1) / 1000,
      notAfter: Date.UTC(2060, 0, 1) / 1000,
      extensions: [
        extensions.keyUsage([0, 1, 2, 3, 4, 5, 6, 7, 8]),
        extensions.basicConstraints(true, 300),
        extensions.extendedKeyUsage(serverAuth, clientAuth),
        extensions.subjectKeyId(Buffer.from('subject')),
        extensions.authorityKeyId(Buffer.from('issuer')),
        extension(
          '2.5.29.17',
          false,
          sequence(
            contextPrimitive(6, Buffer.from('spiffe://example.org')),
            contextPrimitive(2, Buffer.from('ca.example.org')),
            contextPrimitive(7, Buffer.from([192, 0, 2, 1])),
            context(4, commonName('somebody')),
          ),
        ),
        extension(
          '2.5.29.31',
          false,
          sequence(point('http://a/1', 'ldap://a/1'), point('http://b')),
        ),
        extension('1.2.3.4', false, Buffer.from('no DER at all')),
      ],
    });
    assert.deepEqual(await confirmReading(parsed.tbsDer, parsed), agreed);
  });

  test('names the field that our reader would have read otherwise', async () => {
    const { parsed } = makeAuthority('root', { pathLength: 0 });
    const changes: Readonly<Record<string, Partial<ParsedCertificate>>> = {
      serialNumber: { serialHex: '01' },
      issuer: { issuerDer: commonName('other') },
      subject: { subjectDer: commonName('other') },
      notBefore: { notBefore: parsed.notBefore + 1 },
      notAfter: { notAfter: parsed.notAfter + 1 },
      subjectPublicKeyInfo: { spkiDer: makeKey().spkiDer },
      extensions: { criticalExtensionOids: [] },
      cA: { isCa: false },
      pathLenConstraint: { pathLength: undefined },
      keyUsage: { keyUsage: { names: new Set(['keyCertSign'] as const), critical: true } },
      extendedKeyUsage: { extendedKeyUsage: [serverAuth] },
      subjectKeyIdentifier: { subjectKeyId: '00' },
      authorityKeyIdentifier: { authorityKeyId: '00' },
      uris: { uriSans: ['spiffe://example.org'] },
      dnsNames: { dnsSans: ['example.org'] },
      otherNames: { otherSanKinds: ['iPAddress'] },
      crlDistributionPoints: { crlDistributionPoints: ['http://a'] },
    };
    for (const [field, change] of Object.entries(changes)) {
      const result = await confirmReading(parsed.tbsDer, { ...parsed, ...change });
      assert.ok(!result.ok && result.error.code === 'LINT_FAILED');
      assert.match(result.error.message, new RegExp(`the certificate differ in ${field}:`));
    }
  });

  test('refuses what it can not read, and what our reader refuses', async () => {
    const { parsed } = makeAuthority('root');
    const unread = await confirmReading(sequence(), parsed);
    assert.ok(!unread.ok && unread.error.message.startsWith('the second reader can not read'));
    const refused = await readTwice(Buffer.concat([parsed.tbsDer, Buffer.alloc(1)]));
    assert.equal(refused.ok || refused.error.code, 'LINT_FAILED');
  });
});

test('the second reader of CRLs agrees on full and empty ones, and refuses what is none', async () => {
  const issuer = makeAuthority('root', {
    extensions: [
      extensions.basicConstraints(true),
      extensions.keyUsage([bits.keyCertSign, bits.cRLSign]),
      extensions.subjectKeyId(Buffer.from('key')),
    ],
  }).parsed;
  const crl = (revoked: Parameters<typeof buildCrlTbs>[0]['revoked']): Buffer =>
    buildCrlTbs({ issuer, number: 2n ** 70n, thisUpdate: now, nextUpdate: now + day, revoked });
  const entries = [
    { serialHex: '7f01', revokedAt: now - 5, reason: 'keyCompromise' as const },
    { serialHex: 'ff02', revokedAt: now - 6 },
  ];
  assert.deepEqual(await readCrlTwice(crl([])), agreed);
  assert.deepEqual(await readCrlTwice(crl(entries)), agreed);
  const refused = await readCrlTwice(crl(entries).subarray(1));
  assert.equal(refused.ok || refused.error.code, 'LINT_FAILED');
});

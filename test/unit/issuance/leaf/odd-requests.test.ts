import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { csrFromPem, hashOf } from '../../../../src/common/x509/index.ts';
import { spiffeSubject } from '../../../../src/domain/index.ts';
import type { LeafRequest } from '../../../../src/issuance/issuer.ts';
import { readCsr } from '../../../../src/issuance/leaf/prepare.ts';
import { fixture, fixturePath } from '../../../support/fixtures.ts';

/** Code and text of a refusal, by the beginning of the file's name. All others are accepted. */
const refused: Readonly<Record<string, readonly [string, RegExp]>> = {
  '05-': ['KEY_UNSUPPORTED', /NULL.*openssl req -new/],
  // in whatever order attributes stand, a name that the identity lacks is refused
  '07-': ['CSR_IDENTITY_MISMATCH', /web\.example\.org/],
  '08-': ['CSR_IDENTITY_MISMATCH', /web\.example\.org/],
  '26-': ['CSR_IDENTITY_MISMATCH', /web\.example\.org/],
  '15-': ['CSR_IDENTITY_MISMATCH', /./],
  '20-': ['CSR_MALFORMED', /"[^"]* [^"]*"/],
  '28-': ['KEY_UNSUPPORTED', /P-256 or P-384/],
  '31-': ['CSR_SIGNATURE_INVALID', /SHA-256, SHA-384 or SHA-512/],
  '33-': ['KEY_UNSUPPORTED', /uncompressed point/],
  '34-': ['KEY_UNSUPPORTED', /65537/],
  '35-': ['CSR_MALFORMED', /1 bytes follow the request/],
};

const read = (csrDer: Buffer) =>
  readCsr(
    {
      csrDer,
      subject: spiffeSubject(SpiffeId.of('spiffe://demo.meshca.test/odd'), []),
    } as unknown as LeafRequest,
    { isAuthorityKey: () => false, reservedDnsNames: [] },
  );

for (const name of readdirSync(fixturePath('csr')))
  test(`the request ${name} is judged by what it asks for`, () => {
    const bytes = fixture(`csr/${name}`);
    const der = name.endsWith('.pem') ? unwrap(csrFromPem(bytes.toString('utf8'))) : bytes;
    const result = read(der);
    const wanted = refused[name.slice(0, 3)];
    if (wanted !== undefined) {
      assert.ok(!result.ok, 'it was accepted');
      const [code, text] = wanted;
      assert.equal(result.error.code, code);
      assert.match(result.error.message, text);
      return;
    }
    const { proof } = unwrap(result).csr;
    const key = createPublicKey({ key: proof.spkiDer, format: 'der', type: 'spki' });
    assert.ok(verify(hashOf(proof.algorithm), proof.signedBytes, key, proof.signature));
  });

test('a request is read from the PEM that tools and editors write', () => {
  const der = fixture('csr/40-new-label.csr.der');
  const pem = (name: string): Buffer =>
    unwrap(csrFromPem(fixture(`pem/${name}.csr.pem`).toString('utf8')));
  for (const name of ['40-new-label', '50-crlf', '53-trailing-spaces', '55-text-before'])
    assert.ok(unwrap(read(pem(name))).csr.raw.length > 0, name);
  assert.deepEqual(pem('40-new-label'), der);
  const crlf = fixture('pem/50-crlf.csr.pem').toString('utf8');
  assert.deepEqual(unwrap(csrFromPem(crlf.replaceAll('\r\n', '\r'))), pem('50-crlf'));
  assert.throws(
    () => pem('52-utf16'),
    (thrown: unknown) =>
      thrown instanceof PkiError &&
      thrown.code === 'CSR_MALFORMED' &&
      /UTF-16/.test(thrown.message),
  );
  const swapped = Buffer.from(fixture('pem/52-utf16.csr.pem')).swap16().toString('utf8');
  assert.match((csrFromPem(swapped) as { error: PkiError }).error.message, /UTF-16/);
});

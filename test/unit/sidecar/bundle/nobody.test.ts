import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { parseCertificate, verifyX509Svid } from '../../../../src/common/x509/index.ts';
import { nobodysAuthority, nobodysBundle } from '../../../../sidecar/bundle/index.ts';
import { createRoot, createSvid } from '../../../support/test-pki.ts';

test('programs can load the authority of nobody, and it is the same in every process', () => {
  const der = nobodysAuthority();
  const certificate = new X509Certificate(der);
  assert.ok(certificate.ca);
  // OpenSSL reads a point only if it is on the curve
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.equal(certificate.verify(certificate.publicKey), false);
  assert.deepEqual(unwrap(parseCertificate(der)).isCa, true);
  assert.equal(
    createHash('sha256').update(der).digest('hex'),
    '8fe6c1863c63c043243b2f10a75017b4a6cc2503b49d92344d479f78f2d9c0b9',
  );
});

test('the x of its key is a hash, so that nobody can have chosen the key', () => {
  const { x } = new X509Certificate(nobodysAuthority()).publicKey.export({ format: 'jwk' });
  const hashes = Array.from({ length: 16 }, (_, number) =>
    createHash('sha256').update(`meshca: the key of nobody, ${number}`).digest('base64url'),
  );
  assert.ok(hashes.includes(x as string));
});

test('under the bundle of nobody no certificate verifies', () => {
  const trustDomain = TrustDomain.of('b.test');
  const { rootsDer, jwksJson } = nobodysBundle(trustDomain);
  const { subjectDer } = unwrap(parseCertificate(nobodysAuthority()));
  assert.ok(subjectDer.length > 0);
  const { chainDer } = createSvid(createRoot('b.test'), 'spiffe://b.test/web');
  const verified = verifyX509Svid({ chainDer, bundle: () => rootsDer, now: Date.now() / 1000 });
  assert.ok(!verified.ok && verified.error.code === 'CHAIN_UNTRUSTED');
  assert.equal(jwksJson, '{"keys":[]}');
});

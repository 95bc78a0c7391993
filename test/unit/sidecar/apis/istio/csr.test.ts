import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { readRequest } from '../../../../../sidecar/apis/istio/csr.ts';
import { PkiError } from '../../../../../src/common/errors/index.ts';
import { createCsr, spkiOf } from '../../../../../src/common/x509/index.ts';
import { csrPem } from '../../../../support/istio.ts';

const web = 'spiffe://mesh.test/ns/shop/sa/web';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

test('the key of a request and the URIs that it names are read', () => {
  const named = createCsr(privateKey, { uriSan: web });
  assert.deepEqual(readRequest(csrPem(named)), {
    csrDer: named,
    spkiDer: spkiOf(publicKey),
    uris: [web],
  });
  assert.deepEqual(readRequest(csrPem(createCsr(privateKey))).uris, []);
});

test('what is no request is CSR_MALFORMED, wherever it breaks off', () => {
  const whole = createCsr(privateKey, { uriSan: web });
  const { spkiDer } = readRequest(csrPem(whole));
  const endOfKey = whole.indexOf(spkiDer) + spkiDer.length;
  const broken = Array.from({ length: endOfKey }, (_, length) => csrPem(whole.subarray(0, length)));
  for (const pem of ['', 'text', ...broken])
    assert.throws(
      () => readRequest(pem),
      (thrown) => thrown instanceof PkiError && thrown.code === 'CSR_MALFORMED',
    );
});

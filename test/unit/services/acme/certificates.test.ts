import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesFromPem } from '../../../../src/common/x509/index.ts';
import type { AcmeOrder, Authority, CertificateRecord } from '../../../../src/domain/index.ts';
import { AcmeCertificates } from '../../../../src/services/acme/certificates.ts';
import type { AccountRequest } from '../../../../src/services/acme/gate.ts';
import { AcmeRefusal } from '../../../../src/services/acme/problem.ts';
import { AcmeUrls } from '../../../../src/services/acme/urls.ts';

const serial = '41'.padEnd(32, '0');
const [leaf, issuing, cross] = [Buffer.from('leaf'), Buffer.from('issuing'), Buffer.from('cross')];
const rootSpki = Buffer.from('root key');

const authority = (over: Partial<Authority>): Authority =>
  ({ token: 'issuing', spkiDer: null, certificateDer: null, ...over }) as Authority;

/** A root of names, its intermediate, and a certificate that the root before gave this root. */
const all: readonly Authority[] = [
  authority({ id: 'root', kind: 'names-root', spkiDer: rootSpki }),
  authority({ id: 'issuing', kind: 'names-issuing', certificateDer: issuing }),
  authority({
    ...{ id: 'cross', kind: 'names-issuing', token: 'external' },
    ...{ spkiDer: rootSpki, certificateDer: cross },
  }),
];

function world({ chain = [issuing, cross], accountId = 'a1' } = {}) {
  const proven: string[] = [];
  const certificates = new AcmeCertificates({
    orders: { bySerial: () => Promise.resolve({ accountId } as AcmeOrder) },
    certificates: {
      bySerial: () =>
        Promise.resolve({
          ...{ serial, state: 'issued', authorityId: 'issuing', certificateDer: leaf },
        } as CertificateRecord),
    },
    inventory: { require: (record) => Promise.resolve(void proven.push(record.serial)) },
    authorities: { all: () => all, chainDer: () => chain },
    urls: new AcmeUrls('https://ca.test'),
  });
  const read = (alternate?: string) =>
    certificates.read(
      { account: { id: 'a1' }, payload: Buffer.alloc(0) } as AccountRequest,
      serial,
      alternate,
    );
  return { proven, read };
}

const chainIn = (body: unknown): readonly string[] =>
  unwrap(certificatesFromPem((body as { readonly chainPem: string }).chainPem)).map(String);

test('the usual chain ends with the cross-certificate of the root, the other one without', async () => {
  const { proven, read } = world();
  const usual = await read();
  assert.deepEqual(chainIn(usual.body), ['leaf', 'issuing', 'cross']);
  const alternate = `https://ca.test/acme/cert/${serial}/alternate/1`;
  assert.deepEqual(usual.links, [{ url: alternate, rel: 'alternate' }]);
  const other = await read('1');
  assert.deepEqual(chainIn(other.body), ['leaf', 'issuing']);
  assert.deepEqual(other.links, [{ url: `https://ca.test/acme/cert/${serial}`, rel: 'alternate' }]);
  assert.deepEqual(proven, [serial, serial]);
});

test('without a cross-certificate there is one chain', async () => {
  const { read } = world({ chain: [issuing] });
  assert.deepEqual((await read()).links, []);
  await assert.rejects(read('1'), AcmeRefusal);
});

test('the certificate of another account is not there', async () => {
  const { proven, read } = world({ accountId: 'a2' });
  await assert.rejects(read(), (thrown: AcmeRefusal) => thrown.problem.status === 404);
  assert.deepEqual(proven, []);
});

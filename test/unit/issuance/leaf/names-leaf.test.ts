import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { derWriter, parseCertificate } from '../../../../src/common/x509/index.ts';
import type { Intent, NamesSubject } from '../../../../src/domain/index.ts';
import { builtInPolicy, type LeafRequest } from '../../../../src/issuance/index.ts';
import { statedCsr } from '../../../support/csr.ts';
import { issuing, requesterKey, world, request, proxyName } from './leaf-support.ts';

const shop: NamesSubject = {
  kind: 'names',
  dnsNames: ['www.shop.test', '*.shop.test'],
  ips: ['192.0.2.7', '2001:db8::7'],
};
const endpoint = (over: Partial<LeafRequest> = {}): LeafRequest =>
  request({
    subject: shop,
    kind: 'endpoint',
    profile: 'classic',
    ttlSeconds: 86_400,
    caller: { class: 'local', name: 'uid:0' },
    holder: 'uid:0',
    entryId: null,
    ...over,
  });

function namesWorld() {
  const w = world();
  w.issuerKind = 'names-issuing';
  return w;
}

test('an endpoint gets its names from an authority for names, by its profile', async () => {
  const w = namesWorld();
  w.decide = builtInPolicy(systemClock).decide;
  const results = await w.issuer.issue([
    endpoint({ csrDer: statedCsr(requesterKey, { commonName: 'www.shop.test' }) }),
    endpoint({ profile: 'short' }),
    endpoint({ profile: 'hours', ttlSeconds: 3600 }),
  ]);
  const leaves = results.map((result) => {
    assert.ok(result.ok, result.ok ? '' : result.error.message);
    return unwrap(parseCertificate(result.leaf.chainDer[0] as Buffer));
  });
  const { id } = issuing.authority;
  const issuerUrls = [`http://ca.mesh.test/crl/${id}.cer`];
  for (const leaf of leaves) {
    assert.deepEqual([leaf.dnsSans, leaf.ipSans, leaf.uriSans], [shop.dnsNames, shop.ips, []]);
    assert.deepEqual(leaf.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.deepEqual(leaf.issuerUrls, issuerUrls);
  }
  assert.deepEqual(
    leaves.map(({ noRevAvail, crlDistributionPoints, ocspUrls, sanCritical }) => [
      noRevAvail,
      crlDistributionPoints,
      ocspUrls,
      sanCritical,
    ]),
    [
      [false, [`http://ca.mesh.test/crl/${id}/5.crl`], [`http://ca.mesh.test/ocsp/${id}`], false],
      [true, [], [], true],
      [true, [], [], true],
    ],
  );
  assert.deepEqual(
    w.finished.map((item) => (item.kind === 'signed' ? item.event.detail['dnsNames'] : undefined)),
    leaves.map(() => shop.dnsNames),
    'the log has every name',
  );
});

test('the life of an endpoint is cut to the end of its issuer, on record', async () => {
  const w = namesWorld();
  const [result] = await w.issuer.issue([endpoint({ ttlSeconds: 30 * 86_400 })]);
  assert.ok(result?.ok);
  assert.equal(result.leaf.notAfter, issuing.authority.notAfter);
  const [finished] = w.finished;
  assert.ok(finished?.kind === 'signed');
  assert.equal(finished.event.detail['cutFromSeconds'], 30 * 86_400);
});

test('a request for names that may not be is refused, and nothing is signed for it', async () => {
  const w = namesWorld();
  const ofNames = (over: Partial<NamesSubject>): LeafRequest =>
    endpoint({ subject: { ...shop, ...over } });
  const mustStaple = derWriter.sequence(
    derWriter.oid('1.3.6.1.5.5.7.1.24'),
    derWriter.octetString(derWriter.sequence(derWriter.integer(5))),
  );
  const many = Array.from({ length: 101 }, (_, index) => `n${index}.shop.test`);
  const results = await w.issuer.issue([
    endpoint({ csrDer: statedCsr(requesterKey, { extensions: [mustStaple] }) }),
    ofNames({ dnsNames: ['ca.mesh.test'] }),
    ofNames({ dnsNames: ['*.mesh.test'] }),
    ofNames({ dnsNames: [proxyName] }),
    ofNames({ dnsNames: many }),
    ofNames({ dnsNames: ['*.test'] }),
    endpoint({ csrDer: statedCsr(requesterKey, { dnsSans: ['other.test'] }) }),
    endpoint({ profile: 'short', ttlSeconds: 6 * 86_400 + 1 }),
    endpoint({ profile: 'classic', ttlSeconds: 90 * 86_400 + 1 }),
    endpoint({ profile: 'hours', ttlSeconds: 86_401 }),
    request(),
  ]);
  assert.deepEqual(
    results.map((result) => (result.ok ? 'ok' : result.error.code)),
    [
      'CSR_EXTENSION_REFUSED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'LINT_FAILED',
      'LINT_FAILED',
      'CSR_IDENTITY_MISMATCH',
      'TTL_OUT_OF_RANGE',
      'TTL_OUT_OF_RANGE',
      'TTL_OUT_OF_RANGE',
      'NO_ISSUER',
    ],
  );
  assert.deepEqual(w.log, [], 'nothing was recorded or signed');
});

test('an authority of the mesh signs no names of endpoints', async () => {
  const w = world();
  const [result] = await w.issuer.issue([endpoint()]);
  assert.ok(result?.ok === false && result.error.code === 'NO_ISSUER');
  assert.deepEqual(w.log, []);
});

test('a repeated request gets the recorded certificate for the same names alone', async () => {
  const w = namesWorld();
  const asked = endpoint();
  const [first] = await w.issuer.issue([asked]);
  assert.ok(first?.ok);
  w.recorded = {
    ...(w.intents[0] as Intent),
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: null,
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: first.leaf.chainDer[0] as Buffer,
  };
  const [again, fewer] = await w.issuer.issue([
    asked,
    { ...asked, subject: { ...shop, dnsNames: ['www.shop.test'] } },
  ]);
  assert.ok(again?.ok && fewer?.ok);
  assert.equal(again.leaf.serial, first.leaf.serial);
  assert.notEqual(fewer.leaf.serial, first.leaf.serial);
});

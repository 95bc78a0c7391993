import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { createCsr, parseCertificate } from '../../../../src/common/x509/index.ts';
import {
  linkerdServingName,
  spiffeSubject,
  type NamesSubject,
} from '../../../../src/domain/index.ts';
import type { LeafRequest } from '../../../../src/issuance/index.ts';
import { statedCsr } from '../../../support/csr.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';
import { linkerd, requesterKey, world, request, proxyName } from './leaf-support.ts';

const proxyOf = (name: string): NamesSubject => ({ kind: 'names', dnsNames: [name], ips: [] });
const proxy = (over: Partial<LeafRequest> = {}): LeafRequest =>
  request({
    csrDer: statedCsr(requesterKey, { commonName: proxyName, dnsSans: [proxyName] }),
    subject: proxyOf(proxyName),
    kind: 'linkerd',
    profile: 'linkerd',
    entryId: null,
    keyTypes: ['ec-p256'],
    ...over,
  });

test('a proxy of Linkerd gets one DNS name and no URI, from the authorities of the mesh', async () => {
  const w = world();
  const asked: unknown[] = [];
  w.decide = (asking, caller) => {
    asked.push(asking.type === 'x509' ? [asking.kind, asking.profile] : []);
    return passThroughPolicy.decide(asking, caller);
  };
  const [result] = await w.issuer.issue([proxy()]);
  assert.ok(result?.ok);
  const leaf = unwrap(parseCertificate(result.leaf.chainDer[0] as Buffer));
  assert.deepEqual([leaf.dnsSans, leaf.uriSans, leaf.otherSanKinds], [[proxyName], [], []]);
  assert.deepEqual([...(leaf.keyUsage?.names ?? [])], ['digitalSignature']);
  assert.deepEqual(leaf.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.ok(leaf.noRevAvail && leaf.sanCritical);
  assert.deepEqual(asked, [['linkerd', 'linkerd']], 'the one policy was asked');
  const [intent] = w.intents;
  assert.deepEqual(
    [intent?.kind, intent?.profile, intent?.spiffeId],
    ['linkerd', 'linkerd', `dns:${proxyName}`],
  );
});

test('a proxy of Linkerd gets no other name, key or life, and nobody else gets its name', async () => {
  const w = world();
  const serving = linkerdServingName(linkerd);
  const foreign = 'web.emojivoto.serviceaccount.identity.linkerd.other.local';
  const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const web = SpiffeId.of('spiffe://mesh.test/web');
  const results = await w.issuer.issue([
    proxy({ csrDer: statedCsr(requesterKey, { dnsSans: [serving] }), subject: proxyOf(serving) }),
    proxy({ csrDer: createCsr(requesterKey), subject: proxyOf(foreign) }),
    proxy({ csrDer: createCsr(requesterKey), subject: proxyOf('ca.mesh.test') }),
    proxy({ csrDer: createCsr(rsa) }),
    proxy({ ttlSeconds: 86_401 }),
    proxy({ csrDer: statedCsr(requesterKey, { dnsSans: [proxyName, 'b.test'] }) }),
    request({ subject: spiffeSubject(web, [proxyName]) }),
    request({ subject: spiffeSubject(web, [serving]), kind: 'delegated' }),
    request({ subject: spiffeSubject(web, ['ca.mesh.test']) }),
  ]);
  assert.deepEqual(
    results.map((result) => (result.ok ? 'ok' : result.error.code)),
    [
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'KEY_UNSUPPORTED',
      'TTL_OUT_OF_RANGE',
      'CSR_IDENTITY_MISMATCH',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
      'DNS_NAME_RESERVED',
    ],
  );
  assert.deepEqual(w.log, [], 'nothing was recorded or signed');
});

import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { bundlesSecret, keyFits, svidSecret } from '../../../../../sidecar/apis/sds/secrets.ts';
import type { HeldX509Svid } from '../../../../../sidecar/ports/svids.ts';
import { bundleOf, entryOf } from '../../../../support/local-server-fakes.ts';
import { createRoot, createSvid } from '../../../../support/test-pki.ts';

const ca = createRoot('td.test');

function held(name: string): HeldX509Svid {
  const { chainDer, keyDer, id } = createSvid(ca, `spiffe://td.test/${name}`);
  return {
    identity: { entry: entryOf(name, id, []), spiffeId: SpiffeId.of(id) },
    serial: name,
    chainDer,
    privateKeyPkcs8Der: keyDer,
    notBefore: 0,
    notAfter: 2_000_000_000,
  };
}

const pem = (bytes: Buffer | Uint8Array | string | null | undefined): string =>
  Buffer.from(bytes as Buffer).toString();

test('a certificate goes out with its key, as PEM, under the name that was asked for', () => {
  const svid = held('web');
  const { name, tlsCertificate } = svidSecret(svid).encode('default', 'm 1');
  assert.equal(name, 'default');
  const chain = pem(tlsCertificate?.certificateChain?.inlineBytes);
  assert.deepEqual(new X509Certificate(chain).raw, svid.chainDer[0]);
  assert.match(pem(tlsCertificate?.privateKey?.inlineBytes), /^-----BEGIN PRIVATE KEY-----\n/);
});

test('a key that is not that of the certificate, or no key, does not fit', () => {
  const [one, other] = [held('one'), held('other')];
  assert.equal(keyFits(one), true);
  assert.equal(keyFits({ ...one, privateKeyPkcs8Der: other.privateKeyPkcs8Der }), false);
  assert.equal(keyFits({ ...one, privateKeyPkcs8Der: randomBytes(138) }), false);
  assert.equal(keyFits({ ...one, chainDer: [randomBytes(700)] }), false);
});

const own = bundleOf('td.test', 1, '{"keys":[{"use":"jwt-svid","kid":"k"}]}');
const other = bundleOf('b.test');
const crls = [randomBytes(50)];

test('with the SPIFFE validator each trust domain has its own roots, and no JWT key', () => {
  const { validationContext } = bundlesSecret([own, other], own, {
    spiffeValidator: true,
    crls: [],
  }).encode('ALL', 'm 1');
  const config = validationContext?.customValidatorConfig;
  assert.equal(config?.name, 'envoy.tls.cert_validator.spiffe');
  const domains = config.typedConfig?.value?.trustDomains ?? [];
  assert.deepEqual(
    domains.map((each) => each.name),
    ['td.test', 'b.test'],
  );
  for (const each of domains) {
    const blocks = pem(each.trustBundle?.inlineBytes).match(/-----BEGIN [A-Z0-9 ]+-----/g);
    assert.deepEqual(blocks, ['-----BEGIN CERTIFICATE-----']);
  }
  assert.equal(validationContext?.trustedCa, undefined);
});

test('CRLs stand beside the own roots alone, where each kind of validation reads them', () => {
  const options = { spiffeValidator: true, crls };
  const { validationContext } = bundlesSecret([own, other], own, options).encode('ALL', 'm 1');
  const [mine, foreign] =
    validationContext?.customValidatorConfig?.typedConfig?.value?.trustDomains ?? [];
  assert.match(pem(mine?.trustBundle?.inlineBytes), /BEGIN X509 CRL/);
  assert.doesNotMatch(pem(foreign?.trustBundle?.inlineBytes), /CRL/);
  const plain = bundlesSecret([own], own, { spiffeValidator: false, crls }).encode('ROOTCA', 'm 1');
  assert.match(pem(plain.validationContext?.crl?.inlineBytes), /BEGIN X509 CRL/);
  assert.doesNotMatch(pem(plain.validationContext?.trustedCa?.inlineBytes), /CRL/);
});

test('each response has bytes of its own, between the blocks of PEM, and the version stays', () => {
  const svid = svidSecret(held('web'));
  const spiffe = bundlesSecret([own, other], own, { spiffeValidator: true, crls });
  const plain = bundlesSecret([own], own, { spiffeValidator: false, crls });
  for (const [name, content] of Object.entries({ svid, spiffe, plain })) {
    const texts = ['m 1', 'm 2'].map((mark) => JSON.stringify(content.encode('a', mark)));
    assert.notEqual(texts[0], texts[1], name);
  }
  const chain = pem(svid.encode('a', 'm 1').tlsCertificate?.certificateChain?.inlineBytes);
  assert.match(chain, /-----END CERTIFICATE-----\n# m 1\n$/);
});

test('plain roots of two trust domains are never put together', () => {
  assert.throws(
    () =>
      bundlesSecret([own, other], own, { spiffeValidator: false, crls: [] }).encode('ALL', 'm 1'),
    RangeError,
  );
});

test('a version changes with the content alone', () => {
  const none = { spiffeValidator: true, crls: [] };
  const of = (bundles = [own], options: Parameters<typeof bundlesSecret>[2] = none): string =>
    bundlesSecret(bundles, own, options).version;
  assert.equal(of(), of([{ ...own, sequence: 9, jwksJson: '{"keys":[]}' }]));
  const all = [of(), of([own, other]), of([bundleOf('td.test')]), of([own], { ...none, crls })];
  all.push(of([own], { spiffeValidator: false, crls: [] }));
  assert.equal(new Set(all).size, all.length);
  const svid = held('web');
  assert.equal(svidSecret(svid).version, svidSecret({ ...svid }).version);
  assert.notEqual(svidSecret(svid).version, svidSecret(held('web')).version);
});

test('CRLs are hashed once for their version, however many names and streams ask for them', () => {
  let reads = 0;
  const counted = new Proxy(crls, {
    get(target, key, receiver) {
      if (key === '0') reads += 1;
      return Reflect.get(target, key, receiver) as unknown;
    },
  });
  const versionOf = (set: readonly Buffer[]): string =>
    bundlesSecret([own, other], own, { spiffeValidator: true, crls: set }).version;
  const version = versionOf(counted);
  const once = reads;
  assert.ok(once > 0);
  for (let look = 0; look < 10; look += 1) assert.equal(versionOf(counted), version);
  assert.equal(reads, once);
  assert.equal(versionOf([...crls]), version);
  assert.notEqual(versionOf([...crls, ...crls]), version);
});

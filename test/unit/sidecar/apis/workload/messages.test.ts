import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workloadContract } from '../../../../../src/common/wire/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { createMessages } from '../../../../../sidecar/apis/workload/messages.ts';
import type { TrustBundle } from '../../../../../sidecar/ports/bundles.ts';
import type { GrantedBundles } from '../../../../../sidecar/ports/granted-bundles.ts';
import type { HeldX509Svid } from '../../../../../sidecar/ports/svids.ts';
import { bundleOf, entryOf, FakeBundles } from '../../../../support/local-server-fakes.ts';

const { service } = workloadContract().packages.SpiffeWorkloadAPI;

const svidOf = (name: string, hint: string): HeldX509Svid => {
  const entry = entryOf(name, `spiffe://td.test/${name}`, [], { hint });
  return {
    identity: { entry, spiffeId: SpiffeId.of(entry.spiffeId) },
    serial: name,
    chainDer: [Buffer.from('leaf'), Buffer.from('issuer')],
    privateKeyPkcs8Der: Buffer.from('key'),
    notBefore: 0,
    notAfter: 1,
  };
};

const granted = (own: TrustBundle, ...others: readonly TrustBundle[]): GrantedBundles => ({
  own,
  federated: new Map(others.map((each) => [each.trustDomain.name, each])),
});

const anySize = { withIssuers: false, largestMessage: Infinity };

function setUp() {
  const bundles = new FakeBundles();
  let generation = 0;
  bundles.onChange(() => void (generation += 1));
  return { bundles, messages: createMessages(bundles, () => generation) };
}

test('an SVID goes with its chain, its key and the roots, a hint only with the first that has it', () => {
  const { bundles, messages } = setUp();
  const own = bundles.own!;
  const svids = [svidOf('a', 'main'), svidOf('b', 'main'), svidOf('c', ''), svidOf('d', '')];
  const { svids: sent } = service.FetchX509SVID.responseDeserialize(
    messages.x509Svids(svids, granted(own), anySize).bytes,
  );
  assert.deepEqual(
    sent.map((each) => each.hint),
    ['main', '', '', ''],
  );
  assert.deepEqual(sent[0], {
    spiffeId: 'spiffe://td.test/a',
    x509Svid: Buffer.from('leafissuer'),
    x509SvidKey: Buffer.from('key'),
    bundle: Buffer.concat(own.rootsDer),
    hint: 'main',
  });
});

test('bundles are keyed by trust domain, the own one beside the federated ones, and encoded once', () => {
  const { bundles, messages } = setUp();
  const other = bundleOf('other.test');
  bundles.set(bundles.own, [other]);
  const own = bundles.own!;
  const both = granted(own, other);
  const { bytes } = messages.x509Bundles(both, anySize);
  assert.deepEqual(service.FetchX509Bundles.responseDeserialize(bytes).bundles, {
    'spiffe://td.test': Buffer.concat(own.rootsDer),
    'spiffe://other.test': Buffer.concat(other.rootsDer),
  });
  assert.equal(messages.x509Bundles(both, anySize).bytes, bytes);
  bundles.set(own, [other]);
  assert.notEqual(
    messages.x509Bundles(both, anySize).bytes,
    bytes,
    'made anew when the bundles change',
  );
});

test('callers with other foreign trust domains get other messages, each encoded once', () => {
  const { bundles, messages } = setUp();
  const [own, a, b] = [bundles.own!, bundleOf('a.test'), bundleOf('b.test')];
  bundles.set(own, [a, b]);
  const sets = [granted(own), granted(own, a), granted(own, b), granted(own, a, b)];
  const namesIn = (bytes: Buffer): readonly string[] =>
    Object.keys(service.FetchJWTBundles.responseDeserialize(bytes).bundles).sort();
  const sent = sets.map((each) => messages.jwtBundles(each));
  assert.deepEqual(sent.map(namesIn), [
    ['spiffe://td.test'],
    ['spiffe://a.test', 'spiffe://td.test'],
    ['spiffe://b.test', 'spiffe://td.test'],
    ['spiffe://a.test', 'spiffe://b.test', 'spiffe://td.test'],
  ]);
  for (const [index, each] of sets.entries()) {
    assert.equal(messages.jwtBundles(each), sent[index]);
    const { federatedBundles } = service.FetchX509SVID.responseDeserialize(
      messages.x509Svids([svidOf('a', '')], each, anySize).bytes,
    );
    assert.deepEqual(
      Object.keys(federatedBundles).sort(),
      namesIn(sent[index] as Buffer).filter((id) => id !== 'spiffe://td.test'),
    );
  }
  assert.equal(new Set(sets.map((each) => messages.rootsVersion(each))).size, sets.length);
  assert.equal(new Set(sets.map((each) => messages.jwtVersion(each))).size, sets.length);
});

test('the version of the roots differs with any set of roots, that of the JWT keys with any document', () => {
  const { bundles, messages } = setUp();
  const own = bundles.own!;
  const versions = (...others: readonly TrustBundle[]): string[] => [
    messages.rootsVersion(granted(own, ...others)),
    messages.jwtVersion(granted(own, ...others)),
  ];
  const before = versions();
  assert.deepEqual(versions(), before);
  const other = bundleOf('other.test');
  bundles.set(own, [other]);
  const after = versions(other);
  assert.ok(after.every((each, index) => each !== before[index]));
});

test('CRLs are left out, all of them, exactly where a message with them is larger than the reader takes', () => {
  const { bundles, messages } = setUp();
  const crls = [Buffer.alloc(1000, 1), Buffer.alloc(2000, 2)];
  bundles.crlsDer = crls;
  bundles.set(bundles.own);
  const own = bundles.own!;
  const svids = [svidOf('a', '')];
  for (const [encode, decode] of [
    [
      (largestMessage: number) =>
        messages.x509Svids(svids, granted(own), { withIssuers: false, largestMessage }),
      service.FetchX509SVID.responseDeserialize,
    ],
    [
      (largestMessage: number) => messages.x509Bundles(granted(own), { largestMessage }),
      service.FetchX509Bundles.responseDeserialize,
    ],
  ] as const) {
    const whole = encode(Infinity);
    assert.deepEqual([decode(whole.bytes).crl, whole.crlsLeftOut], [crls, false]);
    assert.deepEqual(encode(whole.bytes.length), whole);
    const less = encode(whole.bytes.length - 1);
    assert.deepEqual([decode(less.bytes).crl, less.crlsLeftOut], [[], true]);
    assert.deepEqual({ ...decode(less.bytes), crl: crls }, decode(whole.bytes));
    // without CRLs there is nothing to leave out, whatever the size
    bundles.crlsDer = [];
    bundles.set(own);
    assert.equal(encode(1).crlsLeftOut, false);
    bundles.crlsDer = crls;
    bundles.set(own);
  }
});

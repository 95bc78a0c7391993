import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workloadContract } from '../../../../../src/common/wire/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { createMessages } from '../../../../../sidecar/apis/workload/messages.ts';
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
    messages.x509Svids(svids, own, false),
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
  bundles.set(bundles.own, [other, bundleOf('td.test')]);
  const own = bundles.own!;
  const bytes = messages.x509Bundles(own);
  assert.deepEqual(service.FetchX509Bundles.responseDeserialize(bytes).bundles, {
    'spiffe://td.test': Buffer.concat(own.rootsDer),
    'spiffe://other.test': Buffer.concat(other.rootsDer),
  });
  assert.equal(messages.x509Bundles(own), bytes);
  bundles.set(own, []);
  assert.notEqual(messages.x509Bundles(own), bytes, 'made anew when the bundles change');
});

test('the version of the roots differs with any set of roots, that of the JWT keys with any document', () => {
  const { bundles, messages } = setUp();
  const own = bundles.own!;
  const versions = (): string[] => [messages.rootsVersion(own), messages.jwtVersion(own)];
  const before = versions();
  assert.deepEqual(versions(), before);
  bundles.set(own, [bundleOf('other.test')]);
  const after = versions();
  assert.ok(after.every((each, index) => each !== before[index]));
});

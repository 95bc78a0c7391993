import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { generateKeyPairAsync, pkcs8Of, spkiOf } from '../../../../src/common/x509/index.ts';
import type { SigningRequest } from '../../../../sidecar/svid/index.ts';
import {
  DeliveryLease,
  type DeliveryLeaseDependencies,
} from '../../../../sidecar/files/delivery-lease.ts';
import type { TrustBundle } from '../../../../sidecar/ports/bundles.ts';
import { FakeClock } from '../../../support/agent.ts';
import { fileTarget } from '../../../support/delivery.ts';
import { entryOf, FakeEntries } from '../../../support/local-server-fakes.ts';

const trustDomain = TrustDomain.of('td.test');

/** A lease whose authority never answers, or answers as the test says. */
function bench(spiffeId?: string, sign?: DeliveryLeaseDependencies['queue']['sign']) {
  const entries = new FakeEntries();
  const requests: SigningRequest[] = [];
  const lease = new DeliveryLease({
    target: {
      ...fileTarget(),
      spiffeId: spiffeId === undefined ? undefined : SpiffeId.of(spiffeId),
    },
    entries,
    bundles: {
      current: () => ({ rootsDer: [] }) as unknown as TrustBundle,
      federated: () => new Map(),
      crls: () => [],
      onChange: () => () => {},
    },
    trustDomain,
    queue: {
      sign: async (request, urgent) => {
        if (sign !== undefined) return sign(request, urgent);
        requests.push(request);
        request.unanswered.requestId ??= `r${requests.length}`;
        throw new PkiError('UNREACHABLE', 'the answer is lost');
      },
    },
    clock: new FakeClock(),
    random: { uniform: () => 0.5, bytes: (length) => Buffer.alloc(length) },
  });
  return { entries, requests, lease };
}

const codeOf = (result: { readonly ok: boolean; readonly error?: PkiError }): string =>
  result.ok ? 'ok' : (result.error?.code ?? '');

test('a target gets the identity of the entry with its own selector, and of no other', async () => {
  const { entries, lease, requests } = bench();
  entries.set(
    entryOf('db', 'spiffe://td.test/db', ['target:name:db']),
    entryOf('mixed', 'spiffe://td.test/mixed', ['target:name:web', 'unix:uid:0']),
    entryOf('uid', 'spiffe://td.test/uid', ['unix:uid:0']),
  );
  assert.equal(codeOf(await lease.obtain('')), 'NO_IDENTITY');
  assert.equal(requests.length, 0);
  entries.set(entryOf('web', 'spiffe://td.test/web', ['target:name:web']));
  const found = lease.identity();
  assert.equal(found.ok && found.value.spiffeId.toString(), 'spiffe://td.test/web');
});

test('of several identities a target takes the one that it is configured for, or none', () => {
  const both = [
    entryOf('a', 'spiffe://td.test/a', ['target:name:web']),
    entryOf('b', 'spiffe://td.test/b', ['target:name:web']),
  ];
  for (const [wanted, expected] of [
    ['spiffe://td.test/b', 'spiffe://td.test/b'],
    ['spiffe://td.test/c', 'NO_IDENTITY'],
  ] as const) {
    const { entries, lease } = bench(wanted);
    entries.set(...both);
    const found = lease.identity();
    assert.equal(found.ok ? found.value.spiffeId.toString() : found.error.code, expected);
  }
});

test('a request whose answer was lost is sent again as it was, until the entry changes', async () => {
  const { entries, lease, requests } = bench();
  entries.set(entryOf('web', 'spiffe://td.test/web', ['target:name:web']));
  assert.equal(codeOf(await lease.obtain('0a')), 'UNREACHABLE');
  await lease.obtain('0a');
  entries.set({ ...entryOf('web', 'spiffe://td.test/web', ['target:name:web']), revision: 9 });
  await lease.obtain('0a');
  assert.deepEqual(
    requests.map(({ unanswered }) => unanswered.requestId),
    ['r1', 'r1', 'r3'],
  );
  assert.deepEqual(requests[0]?.selectors, [{ type: 'target', value: 'name:web' }]);
  assert.equal(requests[0]?.replacesSerial, '0a');
});

test('a certificate that does not verify under the bundle is not delivered', async () => {
  const { privateKey, publicKey } = await generateKeyPairAsync('ec-p256');
  const { entries, lease } = bench(undefined, async () => ({
    svid: {
      spiffeId: 'spiffe://td.test/web',
      serial: '01',
      chainDer: [Buffer.from('3000', 'hex')],
      notBefore: 0,
      notAfter: 3600,
      lifetimeSeconds: 3600,
      serverTime: 0,
      authorityId: 'issuer',
    },
    key: {
      privateKeyPkcs8Der: pkcs8Of(privateKey),
      spkiDer: spkiOf(publicKey),
      csrDer: Buffer.alloc(0),
    },
    sentAtMonotonicMs: 0,
  }));
  entries.set(entryOf('web', 'spiffe://td.test/web', ['target:name:web']));
  assert.equal(codeOf(await lease.obtain('')), 'SVID_INVALID');
});

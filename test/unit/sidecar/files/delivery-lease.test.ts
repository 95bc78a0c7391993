import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import {
  generateKeyPairAsync,
  parseCertificate,
  pkcs8Of,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import type { Signed, SigningRequest } from '../../../../sidecar/svid/index.ts';
import {
  DeliveryLease,
  type DeliveryLeaseDependencies,
} from '../../../../sidecar/files/delivery-lease.ts';
import type { TrustBundle } from '../../../../sidecar/ports/bundles.ts';
import { FakeClock } from '../../../support/agent.ts';
import { fileTarget } from '../../../support/delivery.ts';
import { entryOf, FakeEntries } from '../../../support/local-server-fakes.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  serverAuth,
} from '../../../support/test-pki.ts';

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
      namesRootsDer: [],
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

const named = entryOf('web', 'spiffe://td.test/shop', ['target:name:web'], {
  profile: 'classic',
  dnsNames: ['www.shop.test'],
});

/** What a server answers for names. */
async function answerFor(dnsSans: readonly string[]): Promise<Signed> {
  const root = createRoot('td.test', { uriSans: [], subject: 'names root' });
  const issuer = createIntermediate(root, 'td.test', { uriSans: [], subject: 'names issuer' });
  const { chainDer, keyDer, privateKey } = createSvid(issuer, '', {
    ...{ uriSans: [], dnsSans, extendedKeyUsage: [serverAuth], notAfterIn: 2_592_000 },
  });
  const { serialHex, notBefore, notAfter } = unwrap(parseCertificate(chainDer[0] as Buffer));
  return {
    svid: {
      ...{ spiffeId: '', serial: serialHex, chainDer: [...chainDer], notBefore, notAfter },
      ...{ lifetimeSeconds: notAfter - notBefore, serverTime: notBefore + 60 },
      ...{ authorityId: 'names issuer', namesRootsDer: [root.certificateDer] },
    },
    key: {
      privateKeyPkcs8Der: keyDer,
      spkiDer: spkiOf(createPublicKey(privateKey)),
      csrDer: Buffer.alloc(0),
    },
    sentAtMonotonicMs: 0,
  };
}

test('a set for names trusts the roots that came with the certificate, and no CRL of the mesh', async () => {
  const answer = await answerFor(['www.shop.test']);
  const { entries, lease } = bench(undefined, async () => answer);
  entries.set(named);
  const { content, facts } = unwrap(await lease.obtain(''));
  assert.deepEqual(content.rootsDer, answer.svid.namesRootsDer);
  assert.deepEqual([content.crlsDer, facts.crlsDigest, facts.rootNames], [[], '', []]);
  assert.deepEqual(content.forNames?.names, ['www.shop.test']);
  assert.equal(facts.spiffeId, 'spiffe://td.test/shop', 'who owns it');
  assert.ok(facts.renewAt > new FakeClock().now() + 9 * 86_400, 'a third of thirty days');
  assert.equal(lease.fits({ content, facts }), true);
  entries.set({ ...named, profile: 'short-lived', revision: 2 });
  assert.equal(lease.fits({ content, facts }), false);
});

test('a certificate with other names than those of the entry is not delivered', async () => {
  const answer = await answerFor(['www.bank.test']);
  const { entries, lease } = bench(undefined, async () => answer);
  entries.set(named);
  assert.equal(codeOf(await lease.obtain('')), 'SVID_INVALID');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import {
  pickHint,
  pickId,
  X509Source,
  type X509SourceOptions,
} from '../../../src/workload/index.ts';
import { FakeWorkloadApi, type FakeIdentity } from '../../support/fake-workload-api.ts';
import { createIntermediate, createRoot, createSvid } from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';

const root = createRoot('a.test');
const issuer = createIntermediate(root, 'a.test');
const bundleDer = [root.certificateDer];
const identity = (id: string, hint = ''): FakeIdentity => ({
  ...createSvid(issuer, id),
  bundleDer,
  hint,
});
const quick = { backoff: { initialMs: 5, maximumMs: 20 } } as const;
const connect = (api: FakeWorkloadApi, options: X509SourceOptions = {}): Promise<X509Source> =>
  X509Source.connect({ socketPath: api.socketPath, ...quick, ...options });

test('connect resolves with the first identity, its key and all bundles', async () => {
  await using api = await FakeWorkloadApi.start();
  const foreign = createRoot('b.test');
  api.setX509({
    svids: [identity('spiffe://a.test/web'), identity('spiffe://a.test/other')],
    federated: { 'spiffe://b.test': [foreign.certificateDer] },
  });
  await using source = await connect(api);
  assert.equal(source.svid.id.toString(), 'spiffe://a.test/web');
  assert.equal(source.svids.length, 2);
  assert.deepEqual([...source.bundles.keys()].sort(), ['a.test', 'b.test']);
  assert.equal(api.missingHeaders, 0);
  assert.equal(source.stats().rotations, 0);
  assert.equal(source.stats().svid.serial, source.svid.serial);
});

test('the agent is reached over TCP by IP address too', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  await using source = await X509Source.connect({
    endpoint: `tcp://127.0.0.1:${await api.listenTcp()}`,
  });
  assert.equal(source.svid.id.path, '/web');
});

test('a federated bundle can not replace the roots of the own trust domain', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({
    svids: [identity('spiffe://a.test/web')],
    federated: { 'spiffe://a.test': [createRoot('a.test').certificateDer] },
  });
  await using source = await connect(api);
  assert.deepEqual(source.bundles.get('a.test'), bundleDer);
});

test('a picker chooses by hint or by ID, and an update in which it finds nothing is refused', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({
    svids: [
      identity('spiffe://a.test/web', 'internal'),
      identity('spiffe://a.test/db', 'external'),
    ],
  });
  await using byHint = await connect(api, { picker: pickHint('external') });
  await using byId = await connect(api, { picker: pickId('spiffe://a.test/db') });
  assert.equal(byHint.svid.id.toString(), 'spiffe://a.test/db');
  assert.equal(byId.svid.id.toString(), 'spiffe://a.test/db');
  api.setX509({ svids: [identity('spiffe://a.test/web', 'internal')] });
  await until(() => byHint.stats().refusedUpdates === 1);
  assert.equal(byHint.svid.id.toString(), 'spiffe://a.test/db');
  assert.equal(byHint.stats().lastError?.code, 'NO_IDENTITY');
});

test('a workload without identity learns so when its patience ends, and gets one that comes in time', async () => {
  await using api = await FakeWorkloadApi.start();
  api.refuseWith = status.PERMISSION_DENIED;
  await assert.rejects(connect(api, { waitMs: 3000 }), { code: 'NO_IDENTITY' });
  const waiting = connect(api, { waitMs: 5000 });
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  api.refuseWith = undefined;
  await using source = await waiting;
  assert.equal(source.svid.id.path, '/web');
});

test('what retrying can not cure ends connect at once', async () => {
  await using api = await FakeWorkloadApi.start();
  api.refuseWith = status.INVALID_ARGUMENT;
  await assert.rejects(connect(api, { waitMs: 60_000 }), { code: 'INVALID_REQUEST' });
});

test('connect gives up when nobody listens, and at once when it is aborted', async () => {
  await assert.rejects(
    X509Source.connect({ socketPath: '/nonexistent/meshca.sock', waitMs: 200, ...quick }),
    { code: 'UNREACHABLE' },
  );
  const abort = new AbortController();
  const waiting = X509Source.connect({
    socketPath: '/nonexistent/meshca.sock',
    waitMs: 60_000,
    signal: abort.signal,
  });
  abort.abort();
  await assert.rejects(waiting, { code: 'CANCELLED' });
  await assert.rejects(X509Source.connect({ endpoint: 'agent.sock' }), {
    code: 'ENDPOINT_INVALID',
  });
  await assert.rejects(X509Source.connect({ endpoint: 'unix:///x', socketPath: '/x' }), {
    code: 'ENDPOINT_INVALID',
  });
});

test('an update that would break handshakes is refused as a whole, and the identity before it stays in use', async () => {
  await using api = await FakeWorkloadApi.start();
  const good = identity('spiffe://a.test/web');
  api.setX509({ svids: [good] });
  await using source = await connect(api);
  const serial = source.svid.serial;
  const other = identity('spiffe://a.test/web');
  const broken: readonly (readonly [string, readonly FakeIdentity[], string])[] = [
    ['no identity at all', [], 'SVID_INVALID'],
    ['the key of another certificate', [{ ...other, keyDer: good.keyDer }], 'SVID_INVALID'],
    [
      'another name than the certificate',
      [{ ...other, id: 'spiffe://a.test/admin' }],
      'SVID_INVALID',
    ],
    ['a key that is none', [{ ...other, keyDer: Buffer.from('key') }], 'SVID_INVALID'],
    [
      'a bundle that did not issue it',
      [{ ...other, bundleDer: [createRoot('a.test').certificateDer] }],
      'CHAIN_UNTRUSTED',
    ],
    [
      'a certificate with trailing bytes',
      [{ ...other, chainDer: [Buffer.concat([...other.chainDer, Buffer.of(1)])] }],
      'CERTIFICATE_MALFORMED',
    ],
    [
      'an expired certificate',
      [{ ...createSvid(issuer, 'spiffe://a.test/web', { notAfterIn: -5 }), bundleDer }],
      'CERTIFICATE_EXPIRED',
    ],
    [
      'one bad identity among good ones',
      [other, { ...other, keyDer: good.keyDer }],
      'SVID_INVALID',
    ],
  ];
  for (const [index, [what, svids, code]] of broken.entries()) {
    api.setX509({ svids });
    await until(() => source.stats().refusedUpdates === index + 1);
    assert.equal(source.stats().lastError?.code, code, what);
    assert.equal(source.svid.serial, serial, what);
  }
  api.setX509({ svids: [other] });
  await until(() => source.stats().rotations === 1);
  assert.equal(source.stats().lastError, undefined);
});

test('when the agent is away the identity stays, and after its return updates go on', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  await using source = await connect(api);
  const serials: string[] = [];
  source.onUpdate((svid) => serials.push(svid.serial));
  api.stop();
  await until(() => !source.stats().connected);
  assert.equal(source.svid.id.path, '/web');
  const next = identity('spiffe://a.test/web');
  api.setX509({ svids: [next] });
  await api.listen();
  await until(() => source.stats().rotations === 1);
  assert.deepEqual(serials, [source.svid.serial]);
  assert.ok(source.stats().reconnects > 0);
});

test('close ends the stream and tells no listener anything more', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  const source = await connect(api);
  let told = 0;
  source.onUpdate(() => (told += 1));
  await source.close();
  await source.close();
  await until(() => api.openStreams === 0);
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  assert.equal(told, 0);
});

test('a listener that throws disturbs neither the source nor the other listeners', async () => {
  await using api = await FakeWorkloadApi.start();
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  await using source = await connect(api);
  let told = 0;
  source.onUpdate(() => {
    throw new Error('mine');
  });
  source.onUpdate(() => (told += 1));
  api.setX509({ svids: [identity('spiffe://a.test/web')] });
  await until(() => told === 1);
  assert.equal(source.stats().refusedUpdates, 0);
});

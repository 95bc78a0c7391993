import assert from 'node:assert/strict';
import test from 'node:test';
import { readCanonical } from '../../../../src/domain/index.ts';
import { sha256Hex, verifyX509Svid } from '../../../../src/common/x509/index.ts';
import { acceptedEvent } from '../../../../src/services/federation/federation-events.ts';
import type { FederationView } from '../../../../src/services/services.ts';
import { createRoot, createSvid } from '../../../support/test-pki.ts';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  newJwtKey,
  svidPair,
  webPair,
} from '../../../support/bundle-endpoint.ts';
import { documentWith, strangeRoots } from '../../../support/strange-roots.ts';
import { FederationWorld } from '../../../support/federation-world.ts';

const partner = 'spiffe://partner.test/server';
const root = foreignRoot('partner.test');
const later = foreignRoot('partner.test', { subject: 'a later root' });
const webRoot = foreignRoot('web', { uriSans: [] });
const webRoots = [webRoot.certificateDer.toString('base64')];

const sequenceOf = ({ bundle }: FederationView): number | undefined => bundle?.sequence;

interface Scene extends AsyncDisposable {
  readonly world: FederationWorld;
  readonly endpoint: BundleEndpoint;
}

/** A relationship of the profile https_web, whose first poll has brought the bundle. */
async function webScene(
  document = bundleDocumentOf({ roots: [root], sequence: 5 }),
): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const endpoint = stack.use(await BundleEndpoint.start(webPair(webRoot)));
  const world = stack.use(await FederationWorld.start());
  endpoint.answer = document;
  await world.create({ endpointUrl: endpoint.url, webRoots });
  await world.polled(1);
  assert.equal(sequenceOf(await world.view()), 5);
  const owned = stack.move();
  return { world, endpoint, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The same of the profile https_spiffe; the operator has brought the bundle. */
async function spiffeScene(pair = svidPair(root, partner)): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const endpoint = stack.use(await BundleEndpoint.start(pair));
  const world = stack.use(await FederationWorld.start());
  const document = bundleDocumentOf({ roots: [root], sequence: 5 });
  endpoint.answer = document;
  await world.create({
    endpointUrl: endpoint.url,
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: partner,
    bundleDocument: Buffer.from(document),
  });
  await world.polled(1);
  const owned = stack.move();
  return { world, endpoint, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The bundle in use is still the one of before. */
async function keepsBundle({ world }: Scene): Promise<void> {
  const { bundle } = await world.view();
  assert.deepEqual([bundle?.sequence, bundle?.roots.length], [5, 1]);
}

/** Refused with the code, alerted once however often it is polled, on record, and explained. */
async function refusedAndAlerted(scene: Scene, code: string, reason: RegExp): Promise<void> {
  const { world } = scene;
  const before = world.alerts.length;
  assert.equal(await world.refresh(), code);
  assert.equal(await world.refresh(), code);
  await keepsBundle(scene);
  const alerts = world.alerts.slice(before).map(({ fields }) => fields['code']);
  assert.deepEqual(alerts, [code]);
  const [record] = await world.world.audit('federation.bundle-refused');
  assert.equal(record?.subject, 'spiffe://partner.test');
  const explained = await world.explain();
  assert.match(explained, reason);
  assert.match(explained, new RegExp(`${code}: `));
  assert.match(explained, /Next: /);
}

test('both profiles bring the bundle, each accepted one is on record, and a poll at the hint renews it', async () => {
  for (const scene of [webScene, spiffeScene]) {
    await using present = await scene();
    const { world, endpoint } = present;
    assert.deepEqual(world.outcomes, ['ok']);
    endpoint.answer = bundleDocumentOf({ roots: [root, later], sequence: 6, hintSeconds: 120 });
    await world.nextPoll();
    const view = await world.view();
    assert.deepEqual([sequenceOf(view), view.everySeconds, view.stale], [6, 120, false]);
    const accepted = await world.world.audit('federation.bundle-accepted');
    assert.equal(accepted.length, 2);
    assert.deepEqual(world.alerts, []);
    assert.match(await world.explain(), /sequence 6, 2 roots/);
  }
});

test('a bundle that was rolled back is refused, alerted and explained', async () => {
  await using scene = await webScene();
  scene.endpoint.answer = bundleDocumentOf({ roots: [later], sequence: 4 });
  await refusedAndAlerted(scene, 'FEDERATION_BUNDLE_ROLLED_BACK', /has the sequence 4.*has 5/);
  // as the advice says: the relationship is made again with the older bundle
  const { world, endpoint } = scene;
  await world.service.delete(
    { class: 'local', uid: 0, gid: 0, pid: 1 },
    'partner.test',
    'restored',
  );
  await world.create({ endpointUrl: endpoint.url, webRoots });
  assert.equal(await world.refresh(), 'ok');
  assert.equal(sequenceOf(await world.view()), 4);
});

test('other keys under the same sequence are refused', async () => {
  await using scene = await webScene();
  scene.endpoint.answer = bundleDocumentOf({ roots: [later], sequence: 5 });
  await refusedAndAlerted(scene, 'FEDERATION_BUNDLE_ROLLED_BACK', /same sequence 5/);
});

test('a bundle that shrank is accepted, shown, alerted and explained', async () => {
  const jwtKeys = { k1: newJwtKey() };
  await using scene = await webScene(bundleDocumentOf({ roots: [root], sequence: 5, jwtKeys }));
  const { world, endpoint } = scene;
  endpoint.answer = bundleDocumentOf({ roots: [later], sequence: 6 });
  await world.nextPoll();
  const { polls, bundle } = await world.view();
  assert.deepEqual([bundle?.sequence, bundle?.jwtKeys.length], [6, 0]);
  assert.deepEqual([polls?.shrunk?.lostRoots.length, polls?.shrunk?.lostJwtKeys], [1, ['k1']]);
  assert.equal(world.alerts.length, 1);
  assert.match(world.alerts[0]?.message ?? '', /has lost keys/);
  assert.match(await world.explain(), /it lost keys: root SHA-256 [0-9a-f]{64}, JWT key k1/);
});

test('the bundle of another trust domain is refused, by its SPIFFE ID and by its keys', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  endpoint.answer = bundleDocumentOf({ roots: [foreignRoot('other.test')], sequence: 6 });
  await refusedAndAlerted(scene, 'FEDERATION_BUNDLE_INVALID', /spiffe:\/\/other\.test, which is/);
  // a root without a SPIFFE ID that a third trust domain has
  const shared = foreignRoot('other.test', { uriSans: [] });
  await using third = await BundleEndpoint.start(webPair(webRoot));
  third.answer = bundleDocumentOf({ roots: [shared], sequence: 1 });
  await world.create({ trustDomain: 'other.test', endpointUrl: third.url, webRoots });
  assert.equal(await world.refresh('other.test'), 'ok');
  endpoint.answer = bundleDocumentOf({ roots: [shared], sequence: 7 });
  assert.equal(await world.refresh(), 'FEDERATION_BUNDLE_INVALID');
  assert.match(await world.explain(), /a key of the trust domain other\.test/);
  await keepsBundle(scene);
  // as the advice says: the endpoint serves its own again
  endpoint.answer = bundleDocumentOf({ roots: [root, later], sequence: 8 });
  assert.equal(await world.refresh(), 'ok');
});

test('a root that nobody here can use is left out, and troubles no other trust domain', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  const strange = strangeRoots().filter(({ verdict }) => verdict === 'left-out');
  const ders = strange.map(({ der }) => der);
  endpoint.answer = documentWith([root.certificateDer, ...ders], { sequence: 6 });
  assert.equal(await world.refresh(), 'ok');
  assert.deepEqual([sequenceOf(await world.view()), (await world.foreign.shared()).size], [6, 1]);
  const records = await world.world.audit('federation.bundle-accepted');
  const leftOut = records.map(({ canonical }) => readCanonical(canonical)?.detail['leftOut']);
  assert.ok(leftOut.includes(strange.length));
  const told = new RegExp(`left out +${strange.length} roots, with a kind of key`);
  assert.match((await world.show()).join('\n'), told);
  assert.match(await world.explain(), new RegExp(`Left out: ${strange.length} roots`));
  await using other = await BundleEndpoint.start(webPair(webRoot));
  other.answer = bundleDocumentOf({ roots: [foreignRoot('other.test')], sequence: 1 });
  await world.create({ trustDomain: 'other.test', endpointUrl: other.url, webRoots });
  const before = (await world.foreign.shared()).get('partner.test');
  assert.equal(await world.refresh('other.test'), 'ok');
  const shared = await world.foreign.shared();
  assert.equal(shared.size, 2);
  assert.equal(shared.get('partner.test'), before, 'only the bundle that changed is read again');
});

test('roots that only an earlier release took are alerted, and the same document is no rollback', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  const strange = strangeRoots().find(({ verdict }) => verdict === 'left-out');
  const der = (strange as { readonly der: Buffer }).der;
  const document = documentWith([root.certificateDer, der], { sequence: 6 });
  // as the earlier release read it
  const { bundle: before } = await world.view();
  assert.ok(before !== undefined);
  const bundle = { ...before, sequence: 6, roots: [...before.roots, der.toString('base64')] };
  const none = { lostRoots: [], lostJwtKeys: [], lostByRules: [], leftOut: 0, changed: true };
  const event = acceptedEvent({ bundle, ...none }, 'server', world.world.clock.nowMs());
  await world.world.store.federation.accept(bundle, before, event);
  await world.foreign.refresh();
  const digest = sha256Hex(der);
  assert.deepEqual(world.alerts.at(-1)?.fields['leftOut'], [digest]);
  const again = world.alerts.length;
  await world.foreign.reread();
  assert.equal(world.alerts.length, again, 'it is alerted once');
  // another root under this sequence is a rollback as before
  endpoint.answer = documentWith([later.certificateDer, der], { sequence: 6 });
  assert.equal(await world.refresh(), 'FEDERATION_BUNDLE_ROLLED_BACK');
  endpoint.answer = document;
  assert.equal(await world.refresh(), 'ok');
  assert.deepEqual(world.alerts.at(-1)?.fields['lostByRules'], [digest]);
  const view = await world.view();
  assert.deepEqual([view.bundle?.roots, view.leftOut], [before.roots, 1]);
  const { length } = world.alerts;
  assert.equal(await world.refresh(), 'ok');
  assert.equal(world.alerts.length, length, 'the next poll finds nothing new');
});

test('a bundle with a root that has expired is taken whole, and this root verifies nothing', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  const expired = foreignRoot('partner.test', { notBeforeIn: -7200, notAfterIn: -3600 });
  endpoint.answer = bundleDocumentOf({ roots: [root, expired], sequence: 6 });
  assert.equal(await world.refresh(), 'ok');
  const { bundle, leftOut } = await world.view();
  assert.deepEqual([bundle?.roots.length, leftOut, world.alerts.length], [2, 0, 0]);
  const roots = (bundle?.roots ?? []).map((each) => Buffer.from(each, 'base64'));
  const verified = (authority: typeof root): boolean =>
    verifyX509Svid({
      chainDer: createSvid(authority, 'spiffe://partner.test/web').chainDer,
      bundle: () => roots,
      now: Math.floor(Date.now() / 1000),
      purpose: 'client',
    }).ok;
  assert.deepEqual([verified(root), verified(expired)], [true, false]);
  // the other side takes it away later: that is told as of any other root
  endpoint.answer = bundleDocumentOf({ roots: [root], sequence: 7 });
  assert.equal(await world.refresh(), 'ok');
  assert.deepEqual(world.alerts.at(-1)?.fields['lostRoots'], [sha256Hex(expired.certificateDer)]);
});

test('a redirect keeps profile and SPIFFE ID, and redirects without end are refused', async () => {
  await using scene = await spiffeScene();
  const { world, endpoint } = scene;
  await using target = await BundleEndpoint.start(svidPair(root, partner));
  target.answer = bundleDocumentOf({ roots: [root, later], sequence: 6 });
  endpoint.answer = (_request, response) => {
    response.writeHead(302, { location: target.url }).end();
  };
  assert.equal(await world.refresh(), 'ok');
  assert.equal(sequenceOf(await world.view()), 6);
  // the same way to a server with a certificate of the web: the profile stays
  await using web = await BundleEndpoint.start(webPair(root));
  web.answer = bundleDocumentOf({ roots: [later], sequence: 7 });
  endpoint.answer = (_request, response) => {
    response.writeHead(307, { location: web.url }).end();
  };
  assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_UNTRUSTED');
  assert.equal(web.requests, 0);
  for (const location of [target.url.replace('https:', 'http:'), endpoint.url]) {
    endpoint.answer = (_request, response) => {
      response.writeHead(302, { location }).end();
    };
    assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_FAILED', location);
    assert.match(await world.explain(), /redirects (?:to a URL|more than 3 times)/);
  }
  assert.equal(sequenceOf(await world.view()), 6);
});

test('a server with a wrong ID, or of the web alone, is sent nothing, alerted and explained', async () => {
  const pairs = [
    [
      svidPair(root, 'spiffe://partner.test/other'),
      /the server is spiffe:\/\/partner\.test\/other/,
    ],
    [svidPair(foreignRoot('partner.test'), partner), /FEDERATION_ENDPOINT_UNTRUSTED/],
    [webPair(root), /the extended key usage/],
  ] as const;
  for (const [pair, reason] of pairs) {
    await using scene = await spiffeScene(pair);
    assert.equal(scene.endpoint.requests, 0);
    assert.deepEqual(scene.world.outcomes, ['FEDERATION_ENDPOINT_UNTRUSTED']);
    assert.equal(scene.world.alerts.length, 1);
    assert.match(await scene.world.explain(), reason);
    await keepsBundle(scene);
  }
  // as the advice says: the relationship names the server that answers
  await using right = await spiffeScene(svidPair(root, partner));
  assert.deepEqual(right.world.outcomes, ['ok']);
  await using wrongName = await BundleEndpoint.start(webPair(webRoot, 'another.test'));
  await using otherRoot = await BundleEndpoint.start(webPair(createRoot('web')));
  for (const endpoint of [wrongName, otherRoot]) {
    await using world = await FederationWorld.start();
    await world.create({ endpointUrl: endpoint.url, webRoots });
    await world.polled(1);
    assert.deepEqual(world.outcomes, ['FEDERATION_ENDPOINT_UNTRUSTED']);
    assert.equal(endpoint.requests, 0);
    assert.match(await world.explain(), /There is no bundle of partner\.test yet/);
  }
});

test('an answer that is huge, slow or none is a failure, and the next poll comes at its time', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  endpoint.answer = (_request, response) => {
    const more = (): void => {
      while (response.write('x'.repeat(65_536)));
    };
    response.on('drain', more);
    more();
  };
  assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_FAILED');
  assert.match(await world.explain(), /more than 262144 bytes/);
  let asked = (): void => {};
  const waiting = new Promise<void>((resolve) => (asked = resolve));
  endpoint.answer = (_request, response) => {
    response.write('{');
    asked();
  };
  const slow = world.refresh();
  await waiting;
  world.world.clock.advance(10_000);
  assert.equal(await slow, 'FEDERATION_ENDPOINT_FAILED');
  assert.match(await world.explain(), /no whole answer in 10 s/);
  endpoint.answer = (_request, response) => {
    response.writeHead(503).end();
  };
  const { requests } = endpoint;
  await world.nextPoll();
  assert.equal(endpoint.requests, requests + 1, 'after a failure it waits for the next poll');
  assert.match(await world.explain(), /answers with status 503/);
  await keepsBundle(scene);
});

test('an endpoint that is gone for a day makes the bundle stale: shown, alerted once, in use, and healed', async () => {
  await using scene = await webScene();
  const { world, endpoint } = scene;
  const document = endpoint.answer;
  assert.equal(await world.refresh(), 'ok');
  endpoint.answer = (_request, response) => void response.destroy();
  for (let polls = 1; polls <= 4; polls += 1) await world.nextPoll();
  assert.equal((await world.view()).stale, true);
  assert.equal((await world.view()).polls?.failure?.code, 'FEDERATION_ENDPOINT_FAILED');
  // the rest of the day at once: a poll that is due comes once
  world.world.clock.advance(86_400_000);
  await world.nextPoll();
  const stale = world.alerts.filter(({ message }) => message.includes('is stale'));
  assert.equal(stale.length, 1);
  await keepsBundle(scene);
  assert.match(await world.explain(), /It is stale: nothing has confirmed it since/);
  endpoint.answer = document;
  await world.nextPoll();
  assert.equal((await world.view()).stale, false);
  assert.match(await world.explain(), /The endpoint confirmed it/);
});

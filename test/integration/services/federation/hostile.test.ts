import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import test from 'node:test';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../../../src/common/x509/index.ts';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  newJwtKey,
  svidPair,
  webPair,
} from '../../../support/bundle-endpoint.ts';
import { FederationWorld } from '../../../support/federation-world.ts';
import { local } from '../../../support/services-world.ts';
import { createIntermediate, createRoot, createSvid } from '../../../support/test-pki.ts';
import { until } from '../../../support/until.ts';

const partner = 'spiffe://partner.test/server';
const root = foreignRoot('partner.test');
const later = foreignRoot('partner.test', { subject: 'a later root' });
const webRoot = foreignRoot('web', { uriSans: [] });
const webRoots = [webRoot.certificateDer.toString('base64')];
const documentOf = (sequence: number): string =>
  bundleDocumentOf({ roots: [root, later], sequence });

interface Scene extends AsyncDisposable {
  readonly world: FederationWorld;
  readonly endpoint: BundleEndpoint;
}

/** The first poll has brought a bundle with the sequence 5. */
async function openScene(): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const endpoint = stack.use(await BundleEndpoint.start(webPair(webRoot)));
  const world = stack.use(await FederationWorld.start());
  endpoint.answer = documentOf(5);
  await world.create({ endpointUrl: endpoint.url, webRoots });
  await world.polled(1);
  const owned = stack.move();
  return { world, endpoint, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** A server that answers each connection with these bytes. Owner of its connections. */
class RawEndpoint implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(speak: (socket: TLSSocket) => void) {
    this.#server = createServer(webPair(webRoot), (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('data', () => speak(socket));
    });
  }

  static async start(speak: (socket: TLSSocket) => void): Promise<RawEndpoint> {
    const endpoint = new RawEndpoint(speak);
    await new Promise<void>((resolve) => endpoint.#server.listen(0, '127.0.0.1', resolve));
    return endpoint;
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

test('an endpoint that breaks HTTP is a failure, and the bundle accepted before stays', async () => {
  const body = documentOf(6);
  const head = 'HTTP/1.1 200 OK\r\n';
  const answers: Readonly<Record<string, string>> = {
    'no HTTP at all': 'hello\r\n\r\n',
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'two lengths': `${head}content-length: 5\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    'a length and chunks': `${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    'a body that is cut off': `${head}content-length: ${body.length + 1}\r\n\r\n${body}`,
    'a chunk that is none': `${head}transfer-encoding: chunked\r\n\r\nxyz\r\n`,
    'a huge head': `${head}x: ${'a'.repeat(100_000)}\r\n\r\n`,
    'another protocol':
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2\r\nconnection: upgrade\r\n\r\n',
    'no content': 'HTTP/1.1 204 No Content\r\n\r\n',
    'a part': `HTTP/1.1 206 Partial Content\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  };
  await using scene = await openScene();
  const { world, endpoint } = scene;
  for (const [name, answer] of Object.entries(answers)) {
    await using raw = await RawEndpoint.start((socket) => socket.end(answer));
    endpoint.answer = redirect(raw.url);
    assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_FAILED', name);
  }
  assert.equal((await world.view()).bundle?.sequence, 5);
});

test('a head that never ends, and answers before the answer, take as long as an answer may take', async () => {
  await using scene = await openScene();
  const { world, endpoint } = scene;
  for (const text of ['HTTP/1.1 200 OK\r\nx-', 'HTTP/1.1 103 Early Hints\r\n\r\n']) {
    let asked = (): void => {};
    const waiting = new Promise<void>((resolve) => (asked = resolve));
    await using raw = await RawEndpoint.start((socket) => {
      socket.write(text);
      asked();
    });
    endpoint.answer = redirect(raw.url);
    const poll = world.refresh();
    await waiting;
    world.world.clock.advance(10_000);
    assert.equal(await poll, 'FEDERATION_ENDPOINT_FAILED');
    assert.match(await world.explain(), /no whole answer in 10 s/);
  }
});

const redirect =
  (location: string) =>
  (_request: IncomingMessage, response: ServerResponse): void =>
    void response.writeHead(307, { location }).end();

test('what is compressed is no bundle, however small it is on the wire', async () => {
  await using scene = await openScene();
  scene.endpoint.answer = (request, response) => {
    assert.equal(request.headers['accept-encoding'], undefined);
    response.setHeader('content-encoding', 'gzip');
    response.end(gzipSync(Buffer.alloc(64 * 1024 * 1024, ' ')).subarray(0, 200_000));
  };
  assert.equal(await scene.world.refresh(), 'FEDERATION_BUNDLE_INVALID');
});

test('a redirect leads to no server that does not prove itself, and to no other scheme', async () => {
  await using scene = await openScene();
  const { world, endpoint } = scene;
  await using inside = await BundleEndpoint.start(webPair(createRoot('web')));
  await using otherName = await BundleEndpoint.start(webPair(webRoot, 'another.test'));
  for (const { url } of [inside, otherName]) {
    endpoint.answer = redirect(url.replace('localhost', '127.0.0.1'));
    assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_UNTRUSTED');
  }
  assert.equal(inside.requests + otherName.requests, 0, 'neither was sent a request');
  const places = [
    'http://169.254.169.254/latest/meta-data/',
    '//169.254.169.254:80x/',
    'file:///etc/passwd',
    'data:application/json,{}',
    endpoint.url.replace('//', '//user:secret@'),
    `${endpoint.url}#fragment`,
    '',
  ];
  for (const place of places) {
    endpoint.answer = redirect(place);
    assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_FAILED', place);
  }
  endpoint.answer = documentOf(6);
  assert.equal(await world.refresh(), 'ok');
});

test('an endpoint is verified also where the environment turns verification off', async () => {
  const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    await using thief = await BundleEndpoint.start(webPair(createRoot('web')));
    await using wrong = await BundleEndpoint.start(svidPair(root, `${partner}/other`));
    await using world = await FederationWorld.start();
    await world.create({ endpointUrl: thief.url, webRoots });
    await world.polled(1);
    await world.service.delete(local, 'partner.test', 'a thief');
    await world.create({
      ...{ endpointUrl: wrong.url, endpointProfile: 'https_spiffe', endpointSpiffeId: partner },
      bundleDocument: Buffer.from(documentOf(1)),
    });
    await world.polled(2);
    assert.deepEqual(new Set(world.outcomes), new Set(['FEDERATION_ENDPOINT_UNTRUSTED']));
    assert.equal(thief.requests + wrong.requests, 0);
  } finally {
    if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
  }
});

test('an endpoint below what is no CA is an untrusted one, and alerts', async () => {
  const none = createIntermediate(webRoot, 'web', { uriSans: [], isCa: false, keyUsage: [] });
  const { chainDer, privateKey } = createSvid(none, 'spiffe://web', { dnsSans: ['localhost'] });
  await using endpoint = await BundleEndpoint.start({
    cert: certificatesToPem(chainDer),
    key: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
  });
  await using world = await FederationWorld.start();
  await world.create({ endpointUrl: endpoint.url, webRoots });
  await world.polled(1);
  assert.deepEqual(world.outcomes, ['FEDERATION_ENDPOINT_UNTRUSTED']);
  assert.equal(world.alerts.length, 1);
});

test('two servers that ask at once take a new bundle both, and neither reports a failure', async () => {
  await using scene = await openScene();
  const { world, endpoint } = scene;
  await using second = new FederationWorld(world.world);
  await second.poller.start();
  await second.polled(1);
  // both have asked before either has the answer
  const waiting: ServerResponse[] = [];
  endpoint.answer = (_request, response) => {
    if (waiting.length >= 2) return void response.end(documentOf(6));
    if (waiting.push(response) === 2) for (const each of waiting) each.end(documentOf(6));
  };
  assert.deepEqual(await Promise.all([world.refresh(), second.refresh()]), ['ok', 'ok']);
  for (const each of [world, second]) {
    assert.equal((await each.view()).bundle?.sequence, 6);
    assert.deepEqual(each.alerts, []);
  }
  const records = await world.world.audit('federation.bundle-accepted');
  assert.equal(records.length, 2, 'of each bundle one record');
});

test('a relationship that is deleted during a poll takes nothing of it, also if it is made again', async () => {
  await using scene = await openScene();
  const { world, endpoint } = scene;
  const waiting: ServerResponse[] = [];
  endpoint.answer = (_request, response) => void waiting.push(response);
  const poll = world.refresh();
  await until(() => waiting.length === 1, 'the poll is under way');
  await world.service.delete(local, 'partner.test', 'over');
  const again = await world.create({ endpointUrl: endpoint.url, webRoots });
  await until(() => waiting.length === 2, 'the poll of the new relationship is under way');
  waiting[0]?.end(documentOf(9));
  await poll;
  assert.equal((await world.view()).bundle, undefined, 'nothing of the poll of before');
  waiting[1]?.end(documentOf(3));
  await until(async () => (await world.view()).bundle?.sequence === 3, 'the new bundle');
  assert.equal((await world.view()).relationship.id, again.relationship.id);
});

test('a server that stops during a poll waits for no endpoint', async () => {
  const scene = await openScene();
  const { world, endpoint } = scene;
  const waiting: ServerResponse[] = [];
  endpoint.answer = (_request, response) => void waiting.push(response);
  const poll = world.refresh();
  await until(() => waiting.length === 1, 'the poll is under way');
  // the clock stands still: no time limit ends the poll
  await world.poller.close();
  await poll;
  await scene[Symbol.asyncDispose]();
});

test('without any bundle there is nothing stale to show, and the reason is told', async () => {
  await using endpoint = await BundleEndpoint.start(webPair(webRoot));
  endpoint.answer = (_request, response) => response.writeHead(404).end();
  await using world = await FederationWorld.start();
  await world.create({ endpointUrl: endpoint.url, webRoots });
  await world.polled(1);
  for (let polls = 1; polls <= 4; polls += 1) await world.nextPoll();
  const explained = await world.explain();
  assert.match(explained, /There is no bundle of partner\.test yet/);
  assert.doesNotMatch(explained, /It stays in use/);
  assert.match(explained, /answers with status 404/);
});

test('an endpoint that takes all its roots back is verified by a bundle that is handed over anew', async () => {
  await using endpoint = await BundleEndpoint.start(svidPair(root, partner));
  await using world = await FederationWorld.start();
  endpoint.answer = bundleDocumentOf({ roots: [], sequence: 6 });
  const draft = {
    endpointUrl: endpoint.url,
    endpointProfile: 'https_spiffe' as const,
    endpointSpiffeId: partner,
    bundleDocument: Buffer.from(documentOf(5)),
  };
  await world.create(draft);
  await world.polled(1);
  assert.deepEqual([world.outcomes, world.alerts.length], [['ok'], 1]);
  assert.equal((await world.view()).bundle?.roots.length, 0);
  assert.equal(await world.refresh(), 'FEDERATION_ENDPOINT_UNTRUSTED');
  assert.match(await world.explain(), /has no root that can be used[^]*--bundle FILE/);
  // as the advice says
  endpoint.answer = documentOf(7);
  await world.service.delete(local, 'partner.test', 'all roots were taken back');
  await world.create(draft);
  assert.equal(await world.refresh(), 'ok');
});

test('a key ID is text of others: it makes no line and no colour of its own', async () => {
  await using scene = await openScene();
  const keyId = 'k\n\u001b[2Jstate  fresh\u202e';
  const jwtKeys = { [keyId]: newJwtKey() };
  scene.endpoint.answer = bundleDocumentOf({ roots: [root, later], sequence: 6, jwtKeys });
  assert.equal(await scene.world.refresh(), 'ok');
  const lines = await scene.world.show();
  const text = lines.join('');
  assert.equal(lines.filter((line) => line.startsWith('state')).length, 1);
  // oxlint-disable-next-line no-control-regex -- that there is none
  assert.doesNotMatch(text, /[\u0000-\u001f\u202e]/);
});

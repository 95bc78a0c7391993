import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { parseCertificate, sha256Hex } from '../../../src/common/x509/index.ts';
import {
  authorizeAny,
  connectTls,
  createTlsServer,
  peerOf,
  X509Source,
} from '../../../src/workload/index.ts';
import { startImpostor } from '../../support/impostor.ts';
import { quickLives, rotationOf, startNode } from '../../support/mesh.ts';
import { startTestServer } from '../../support/server.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type TestAuthority,
} from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';
import { listen, rawClient, rawServer, startWorkload } from '../../support/workload-lib.ts';

const root = createRoot('a.test');
const issuing = createIntermediate(root, 'a.test');
const downstream = createIntermediate(root, 'a.test', { subject: 'a CA downstream' });
const serverId = 'spiffe://a.test/meshca/server';
const ours = { ...createSvid(issuing, 'spiffe://a.test/me'), bundleDer: [root.certificateDer] };
const keyOf = ({ certificateDer }: TestAuthority): Buffer =>
  Buffer.from(sha256Hex(unwrap(parseCertificate(certificateDer)).spkiDer), 'hex');

test('an ID below /meshca/ is believed only from an issuing authority that the agent names', async () => {
  await using me = await startWorkload(ours);
  me.api.setX509({ svids: [ours], serverIssuers: [keyOf(issuing)] });
  await until(() => me.source.stats().updates > 1, 'the issuers');
  const tls = createTlsServer(me.source, { authorize: authorizeAny() }, (socket) => {
    socket.end('admitted');
  });
  const port = await listen(tls);
  for (const [authority, code] of [
    [issuing, undefined],
    [downstream, 'RESERVED_ID_UNTRUSTED'],
  ] as const) {
    const peer = createSvid(authority, serverId);
    await using server = await rawServer(peer);
    const connecting = connectTls(me.source, {
      expect: authorizeAny(),
      host: '127.0.0.1',
      port: server.port,
    });
    if (code === undefined) (await connecting).destroy();
    else await assert.rejects(connecting, { code });
    const answer = await rawClient(port, peer).catch(() => '');
    assert.equal(answer, code === undefined ? 'admitted' : '');
    // any other ID is the CA's to give
    assert.equal(await rawClient(port, createSvid(authority, 'spiffe://a.test/x')), 'admitted');
  }
  tls.close();
});

test('a connection to the server ends when its issuer is no longer named', async () => {
  await using me = await startWorkload(ours);
  me.api.setX509({ svids: [ours], serverIssuers: [keyOf(issuing)] });
  await until(() => me.source.stats().updates > 1, 'the issuers');
  await using server = await rawServer(createSvid(issuing, serverId));
  const socket = await connectTls(me.source, {
    expect: authorizeAny(),
    host: '127.0.0.1',
    port: server.port,
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => {});
  me.api.setX509({ svids: [ours], serverIssuers: [keyOf(downstream)] });
  await closed;
  assert.equal(me.source.stats().closedAsDistrusted, 1);
});

test('an agent that names no issuers leaves it to the mark: below a root without it nobody is believed', async () => {
  await using me = await startWorkload(ours);
  const tls = createTlsServer(me.source, { authorize: authorizeAny() }, (socket) => {
    socket.end('admitted');
  });
  const port = await listen(tls);
  for (const authority of [issuing, downstream]) {
    const peer = createSvid(authority, serverId);
    await using server = await rawServer(peer);
    await assert.rejects(
      connectTls(me.source, { expect: authorizeAny(), host: '127.0.0.1', port: server.port }),
      { code: 'RESERVED_ID_UNTRUSTED' },
    );
    assert.equal(await rawClient(port, peer).catch(() => ''), '');
    assert.equal(await rawClient(port, createSvid(authority, 'spiffe://a.test/x')), 'admitted');
  }
  tls.close();
});

test('a connection to the server ends when the agent names no issuers any more', async () => {
  await using me = await startWorkload(ours);
  me.api.setX509({ svids: [ours], serverIssuers: [keyOf(issuing)] });
  await until(() => me.source.stats().updates > 1, 'the issuers');
  await using server = await rawServer(createSvid(issuing, serverId));
  const socket = await connectTls(me.source, {
    expect: authorizeAny(),
    host: '127.0.0.1',
    port: server.port,
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => {});
  me.api.setX509({ svids: [ours] });
  await closed;
});

test('what another trust domain names below /meshca/ is its own matter, where its root marks nobody', async () => {
  const other = createRoot('b.test');
  await using me = await startWorkload(ours, {}, { 'b.test': [other.certificateDer] });
  await using server = await rawServer(
    createSvid(createIntermediate(other, 'b.test'), 'spiffe://b.test/meshca/server'),
  );
  const socket = await connectTls(me.source, {
    expect: authorizeAny(),
    host: '127.0.0.1',
    port: server.port,
  });
  socket.destroy();
});

test('a workload of our agent is not taken in by a CA downstream that poses as the server', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const node = stack.use(await startNode(server, 'web'));
  const source = await X509Source.connect({ socketPath: node.socketPath });
  stack.defer(() => source.close());
  const dial = (port: number) =>
    connectTls(source, {
      expect: authorizeAny(),
      host: '127.0.0.1',
      port,
      ALPNProtocols: ['h2'],
    });
  (await dial(server.server.port)).destroy();
  await assert.rejects(dial(Number(impostor.address.split(':')[1])), {
    code: 'RESERVED_ID_UNTRUSTED',
  });
});

test('a rotation of the issuing authority keeps no workload from the server, before and after its switch', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer({ config: quickLives }));
  const node = stack.use(await startNode(server, 'web'));
  const source = await X509Source.connect({ socketPath: node.socketPath });
  stack.defer(() => source.close());
  const issuers = new Set<string>();
  const dial = async (): Promise<void> => {
    const socket = await connectTls(source, {
      expect: authorizeAny(),
      host: '127.0.0.1',
      port: server.server.port,
      ALPNProtocols: ['h2'],
    });
    issuers.add(peerOf(socket)?.issuerKeyId ?? '');
    socket.destroy();
  };
  await dial();
  const rotated = rotationOf(server).rotate('issuing');
  let over = false;
  void rotated.finally(() => (over = true));
  while (!over) await dial();
  await rotated;
  await until(async () => {
    await dial();
    return issuers.size > 1;
  }, 'a certificate of the server from its new issuing authority');
});

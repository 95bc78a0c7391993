import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { certificatesToPem } from '../../../src/common/x509/index.ts';
import {
  authorizeAny,
  authorizeId,
  authorizeMemberOf,
  connectTls,
  createTlsServer,
  peerOf,
  type Authorizer,
} from '../../../src/workload/index.ts';
import type { FakeIdentity } from '../../support/fake-workload-api.ts';
import {
  clientAuth,
  createIntermediate,
  createRoot,
  createSvid,
  serverAuth,
  type TestSvid,
} from '../../support/test-pki.ts';
import { past, until } from '../../support/until.ts';
import {
  listen,
  rawClient,
  rawServer,
  startWorkload,
  type Workload,
} from '../../support/workload-lib.ts';

const root = createRoot('a.test');
const issuer = createIntermediate(root, 'a.test');
const foreignRoot = createRoot('b.test');
const foreignIssuer = createIntermediate(foreignRoot, 'b.test');
const federated = { 'spiffe://b.test': [foreignRoot.certificateDer] };
const identity = (id: string): FakeIdentity => ({
  ...createSvid(issuer, id),
  bundleDer: [root.certificateDer],
});
const peerId = 'spiffe://a.test/peer';

interface Vector {
  readonly name: string;
  readonly svid: TestSvid;
  /** Whom the library admits; default anybody. */
  readonly admit?: Authorizer;
  /** In the role that the bad peer plays. */
  readonly codes: { readonly asClient: string; readonly asServer: string };
}

const both = (code: string): Vector['codes'] => ({ asClient: code, asServer: code });
const leaf = (options: Parameters<typeof createSvid>[2], id = peerId): TestSvid =>
  createSvid(issuer, id, options);
const withoutCa = createIntermediate(root, 'a.test', {
  isCa: false,
  keyUsage: ['digitalSignature'],
});
const deep = createIntermediate(issuer, 'a.test');
const leafIssuer = createSvid(issuer, 'spiffe://a.test/evil');

const vectors: readonly Vector[] = [
  {
    name: 'an ID that is not admitted',
    svid: leaf({}),
    admit: authorizeId('spiffe://a.test/somebody'),
    codes: both('PEER_NOT_AUTHORIZED'),
  },
  {
    name: 'an ID of a federated trust domain where only ours is admitted',
    svid: createSvid(foreignIssuer, 'spiffe://b.test/peer'),
    admit: authorizeId(peerId),
    codes: both('PEER_NOT_AUTHORIZED'),
  },
  {
    name: 'our ID signed by the root of another trust domain',
    svid: createSvid(foreignIssuer, peerId),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'an ID of another trust domain signed by our root',
    svid: leaf({}, 'spiffe://b.test/peer'),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'an ID of a trust domain whose bundle is not held',
    svid: leaf({}, 'spiffe://c.test/peer'),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'a root of the same name that is not in the bundle',
    svid: createSvid(createRoot('a.test'), peerId),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'a chain without its intermediate',
    svid: createSvid({ ...issuer, chainDer: [] }, peerId),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'an expired certificate',
    svid: leaf({ notBeforeIn: -600, notAfterIn: -2 }),
    codes: both('CERTIFICATE_EXPIRED'),
  },
  {
    name: 'a certificate that is not valid yet',
    svid: leaf({ notBeforeIn: 600, notAfterIn: 900 }),
    codes: both('CERTIFICATE_NOT_YET_VALID'),
  },
  {
    name: 'a certificate below an expired intermediate',
    svid: createSvid(createIntermediate(root, 'a.test', { notAfterIn: -2 }), peerId),
    codes: both('CERTIFICATE_EXPIRED'),
  },
  {
    name: 'a CA as leaf',
    svid: leaf({ isCa: true, keyUsage: ['digitalSignature'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'keyCertSign on a leaf',
    svid: leaf({ keyUsage: ['digitalSignature', 'keyCertSign'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'cRLSign on a leaf',
    svid: leaf({ keyUsage: ['digitalSignature', 'cRLSign'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'no digitalSignature',
    svid: leaf({ keyUsage: ['keyAgreement'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'a key usage that is not critical',
    svid: leaf({ keyUsageCritical: false }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'only serverAuth',
    svid: leaf({ extendedKeyUsage: [serverAuth] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'only clientAuth',
    svid: leaf({ extendedKeyUsage: [clientAuth] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'no URI SAN',
    svid: leaf({ uriSans: [], dnsSans: ['peer.a.test'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'names without an identity, as servers outside the mesh have them',
    svid: leaf({ uriSans: [], dnsSans: ['www.a.test'], extendedKeyUsage: [serverAuth] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'two URI SANs',
    svid: leaf({ uriSans: [peerId, 'spiffe://a.test/second'] }),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'the ID of the trust domain itself',
    svid: leaf({}, 'spiffe://a.test'),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'an ID with a dot segment',
    svid: leaf({}, 'spiffe://a.test/x/../peer'),
    codes: both('SVID_INVALID'),
  },
  {
    name: 'an intermediate that is no CA',
    svid: createSvid(withoutCa, peerId),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'more intermediates than pathLen allows',
    svid: createSvid(deep, peerId),
    codes: both('CHAIN_UNTRUSTED'),
  },
  {
    name: 'a leaf that plays issuer',
    svid: createSvid(
      {
        certificateDer: leafIssuer.chainDer[0] as Buffer,
        privateKey: leafIssuer.privateKey,
        subjectDer: Buffer.of(0x30, 0),
        keyId: Buffer.alloc(20),
        chainDer: leafIssuer.chainDer,
      },
      peerId,
    ),
    codes: both('CHAIN_UNTRUSTED'),
  },
];

/** Long enough to shake hands within it on a machine that stands still for seconds. */
const shortLife = 10;
/**
 * Resolves when a certificate of that life, made at the time of the call or before, has expired.
 */
const expiry = (): Promise<void> => past(Math.floor(Date.now() / 1000) + shortLife);

let workload: Workload;
before(async () => {
  workload = await startWorkload(identity('spiffe://a.test/me'), {}, federated);
});
after(async () => {
  await workload[Symbol.asyncDispose]();
});

const failures = (role: 'client' | 'server', code: string): number =>
  workload.source.stats().handshakes[role].failed[code] ?? 0;

for (const { name, svid, admit = authorizeAny(), codes } of vectors) {
  test(`a client with ${name} is refused before anything is read or written`, async () => {
    const { source } = workload;
    let admitted = 0;
    const server = createTlsServer(source, { authorize: admit }, (socket) => {
      admitted += 1;
      socket.end('secret');
    });
    const port = await listen(server);
    const earlier = failures('server', codes.asClient);
    const heard = await rawClient(port, svid).catch(() => '');
    server.close();
    await until(() => failures('server', codes.asClient) === earlier + 1).catch(() =>
      assert.fail(JSON.stringify(source.stats().handshakes.server.failed)),
    );
    assert.equal(heard, '');
    assert.equal(admitted, 0);
  });

  test(`a server with ${name} is refused before anything is written`, async () => {
    const { source } = workload;
    await using server = await rawServer(svid);
    await assert.rejects(
      connectTls(source, { host: '127.0.0.1', port: server.port, expect: admit }),
      { code: codes.asServer },
    );
    assert.deepEqual(server.received, []);
  });
}

test('two workloads of one trust domain, and of federated ones, know each other by ID', async () => {
  await using foreign = await startWorkload(
    {
      ...createSvid(foreignIssuer, 'spiffe://b.test/caller'),
      bundleDer: [foreignRoot.certificateDer],
    },
    {},
    { 'spiffe://a.test': [root.certificateDer] },
  );
  const server = createTlsServer(
    workload.source,
    { authorize: authorizeId('spiffe://a.test/me', 'spiffe://b.test/caller') },
    (socket, peer) => socket.end(peer.id.toString()),
  );
  const port = await listen(server);
  for (const source of [foreign.source, workload.source]) {
    const socket = await connectTls(source, {
      port,
      host: '127.0.0.1',
      expect: authorizeId('spiffe://a.test/me'),
    });
    assert.equal(peerOf(socket)?.id.toString(), 'spiffe://a.test/me');
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    assert.equal(await readAll(socket), source.svid.id.toString());
  }
  server.close();
});

test('a foreign root with the name and key ID of our root or issuer does not end our handshakes', async () => {
  const impostors = [
    createRoot('b.test', { subject: 'root of a.test', subjectKeyId: root.keyId }),
    createRoot('b.test', { subject: 'issuer of a.test', subjectKeyId: issuer.keyId }),
  ];
  const bundle = [foreignRoot, ...impostors].map(({ certificateDer }) => certificateDer);
  await using one = await startWorkload(
    identity('spiffe://a.test/one'),
    {},
    { 'spiffe://b.test': bundle },
  );
  const server = createTlsServer(
    one.source,
    { authorize: authorizeMemberOf('a.test', 'b.test') },
    (socket, peer) => socket.end(peer.id.toString()),
  );
  const port = await listen(server);
  try {
    const callers = [identity(peerId), createSvid(foreignIssuer, 'spiffe://b.test/caller')];
    for (const caller of callers) assert.equal(await rawClient(port, caller), caller.id);
    const socket = await connectTls(one.source, {
      ...{ port, host: '127.0.0.1' },
      expect: authorizeId('spiffe://a.test/one'),
    });
    assert.equal(await readAll(socket), 'spiffe://a.test/one');
  } finally {
    server.close();
  }
});

test('a client without certificate and one with TLS 1.2 are refused', async () => {
  const server = createTlsServer(workload.source, { authorize: authorizeAny() }, (socket) =>
    socket.end('secret'),
  );
  const port = await listen(server);
  const [missing, failed] = [
    failures('server', 'PEER_CERTIFICATE_MISSING'),
    failures('server', 'HANDSHAKE_FAILED'),
  ];
  await assert.rejects(rawClient(port, undefined));
  await assert.rejects(rawClient(port, identity(peerId), { maxVersion: 'TLSv1.2' }));
  server.close();
  await until(
    () =>
      failures('server', 'PEER_CERTIFICATE_MISSING') === missing + 1 &&
      failures('server', 'HANDSHAKE_FAILED') === failed + 1,
  );
});

test('a server with TLS 1.2 is refused', async () => {
  await using server = await rawServer(identity(peerId), { maxVersion: 'TLSv1.2' });
  await assert.rejects(
    connectTls(workload.source, { host: '127.0.0.1', port: server.port, expect: authorizeAny() }),
    { code: 'HANDSHAKE_FAILED' },
  );
});

// beside one another, since each waits for the end of a life
describe('when a certificate has expired', { concurrency: true }, () => {
  test('a session is never resumed, neither with a good certificate nor with one that expired meanwhile', async () => {
    const server = createTlsServer(workload.source, { authorize: authorizeAny() }, (socket) => {
      socket.on('data', () => undefined);
      socket.write('x');
    });
    const port = await listen(server);
    const good = identity(peerId);
    const second = await firstBytes(port, good, (await firstBytes(port, good)).session);
    assert.equal(second.reused, false);

    const shortLived = createSvid(issuer, peerId, { notAfterIn: shortLife });
    const { session } = await firstBytes(port, shortLived);
    await expiry();
    const earlier = failures('server', 'CERTIFICATE_EXPIRED');
    await assert.rejects(firstBytes(port, shortLived, session));
    await until(() => failures('server', 'CERTIFICATE_EXPIRED') === earlier + 1);
    server.close();
  });

  test('as a control: a server with the defaults of Node does resume with the expired certificate', async () => {
    await using server = await rawServer(identity('spiffe://a.test/plain'), {
      ca: certificatesToPem([root.certificateDer]),
      rejectUnauthorized: true,
    });
    const shortLived = createSvid(issuer, peerId, { notAfterIn: shortLife });
    const { session } = await firstBytes(server.port, shortLived, undefined, true);
    await expiry();
    assert.equal((await firstBytes(server.port, shortLived, session)).reused, true);
  });

  test('an open connection ends with the certificate of its peer, on both sides', async () => {
    await using shortLived = await startWorkload({
      ...createSvid(issuer, peerId, { notAfterIn: shortLife }),
      bundleDer: [root.certificateDer],
    });
    await using fresh = await startWorkload(identity('spiffe://a.test/fresh'));
    const server = createTlsServer(fresh.source, { authorize: authorizeAny() }, (socket) =>
      socket.on('data', () => undefined),
    );
    const port = await listen(server);
    const socket = await connectTls(shortLived.source, {
      host: '127.0.0.1',
      port,
      expect: authorizeAny(),
    });
    socket.on('error', () => undefined);
    socket.resume();
    await until(() => socket.closed);
    await until(() => fresh.source.stats().closedAsExpired === 1);
    assert.equal(fresh.source.stats().openConnections, 0);
    server.close();
  });

  test('without enforcement a connection outlives the certificate, as the user chose', async () => {
    await using shortLived = await startWorkload(
      {
        ...createSvid(issuer, peerId, { notAfterIn: shortLife }),
        bundleDer: [root.certificateDer],
      },
      { enforce: false },
    );
    await using fresh = await startWorkload(identity('spiffe://a.test/fresh'), { enforce: false });
    const server = createTlsServer(fresh.source, { authorize: authorizeAny() }, (socket) =>
      socket.on('data', () => undefined),
    );
    const port = await listen(server);
    const socket = await connectTls(shortLived.source, {
      host: '127.0.0.1',
      port,
      expect: authorizeAny(),
    });
    await expiry();
    assert.equal(socket.closed, false);
    socket.destroy();
    server.close();
  });
});

test('a client is not given a way to resume a session', () => {
  assert.throws(
    () =>
      connectTls(workload.source, {
        expect: authorizeAny(),
        ...({ session: Buffer.of(1) } as object),
      }),
    { code: 'SESSION_RESUMED' },
  );
});

test('when a root leaves the bundle, connections that stand on it are cut and new ones refused', async () => {
  const oldRoot = createRoot('a.test', { subject: 'old' });
  const client = {
    ...createSvid(oldRoot, peerId),
    bundleDer: [root.certificateDer, oldRoot.certificateDer],
  };
  await using peer = await startWorkload(client);
  await using mine = await startWorkload({
    ...identity('spiffe://a.test/mine'),
    bundleDer: [root.certificateDer, oldRoot.certificateDer],
  });
  const server = createTlsServer(mine.source, { authorize: authorizeAny() }, (socket) =>
    socket.on('data', () => undefined),
  );
  const port = await listen(server);
  const socket = await connectTls(peer.source, { host: '127.0.0.1', port, expect: authorizeAny() });
  socket.on('error', () => undefined);
  socket.resume();
  await until(() => mine.source.stats().openConnections === 1);
  mine.api.setX509({ svids: [identity('spiffe://a.test/mine')] });
  await until(() => socket.closed);
  assert.equal(mine.source.stats().closedAsDistrusted, 1);
  await rawClient(port, client).catch(() => '');
  await until(() => mine.source.stats().handshakes.server.failed['CHAIN_UNTRUSTED'] === 1);
  server.close();
});

/**
 * Connects without checks and resolves with the first bytes and the session to resume; rejects if
 * the server sends none.
 */
function firstBytes(
  port: number,
  svid: TestSvid,
  session?: Buffer,
  withTicket = false,
): Promise<{ readonly session: Buffer | undefined; readonly reused: boolean }> {
  return new Promise((resolve, reject) => {
    const pem = {
      cert: certificatesToPem(svid.chainDer),
      key: svid.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    };
    const socket = connect({
      host: '127.0.0.1',
      port,
      ...pem,
      rejectUnauthorized: false,
      ...(session === undefined ? {} : { session }),
    });
    let latest: Buffer | undefined;
    let read = false;
    const done = (): void => {
      resolve({ session: latest ?? socket.getSession(), reused: socket.isSessionReused() });
      socket.destroy();
    };
    socket.on('session', (each) => {
      latest = each;
      if (withTicket && read) done();
    });
    socket.once('data', () => {
      read = true;
      // tickets may follow the first bytes, none follows the end
      if (!withTicket) socket.once('end', done).end();
      else if (latest !== undefined) done();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without a byte')));
  });
}

async function readAll(socket: TLSSocket): Promise<string> {
  let text = '';
  for await (const bytes of socket) text += String(bytes);
  return text;
}

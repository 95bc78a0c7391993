import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { test, type TestContext } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { systemClock } from '../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { pemEncode, pkcs8Of, sha256Hex } from '../../../src/common/x509/index.ts';
import { IssuerConnection, type ServerTrust } from '../../../sidecar/issuer-client/index.ts';
import {
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  makeKey,
  type TestCertificate,
} from '../../support/x509.ts';
import { patienceMs, until } from '../../support/until.ts';
import {
  defer,
  FakeServer,
  issuersByMark,
  trustDomainName,
} from '../../support/agent-fake-server.ts';

const seconds = (): number => Math.floor(Date.now() / 1000);
const validity = () => ({ notBefore: seconds() - 3600, notAfter: seconds() + 86_400 });

const open = (address: string, trust: ServerTrust): Promise<IssuerConnection> =>
  IssuerConnection.open({
    address,
    trust,
    trustDomain: TrustDomain.of(trustDomainName),
    identity: undefined,
    clock: systemClock,
    connectTimeoutMs: patienceMs,
    callDeadlineMs: patienceMs,
    keepaliveMs: patienceMs,
  });

/**
 * A TLS server that shows this chain, counts what it is sent after the handshake, and answers
 * nothing.
 */
async function listener(
  context: TestContext,
  leaf: TestCertificate,
  chain: readonly TestCertificate[],
  maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3',
): Promise<{
  address: string;
  received: () => number;
  connections: () => number;
  ended: () => number;
}> {
  let [received, connections, ended] = [0, 0, 0];
  const server = createServer(
    {
      key: pemEncode('PRIVATE KEY', pkcs8Of(leaf.key.privateKey)),
      cert: [leaf, ...chain].map(({ parsed }) => pemEncode('CERTIFICATE', parsed.raw)).join(''),
      ALPNProtocols: ['h2'],
      maxVersion,
    },
    (socket) => {
      socket.on('data', (data: Buffer) => {
        received += data.length;
      });
      socket.on('error', () => {});
    },
  );
  server.on('connection', (socket) => {
    connections += 1;
    socket.on('close', () => (ended += 1));
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  defer(context, () => server.close());
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => received,
    connections: () => connections,
    ended: () => ended,
  };
}

const rejectsWith =
  (code: string) =>
  (thrown: unknown): boolean =>
    thrown instanceof PkiError && thrown.code === code;

test('a server is accepted by its exact ID under the bundle, or under the root of the fingerprint', async (context) => {
  const server = new FakeServer();
  await server.start();
  defer(context, () => server.stop());
  for (const trust of [
    { kind: 'bundle', roots: () => [server.root.parsed.raw], issuers: issuersByMark },
    { kind: 'fingerprint', rootsSha256Hex: [server.rootFingerprint], issuers: issuersByMark },
    { kind: 'insecure' },
  ] satisfies ServerTrust[]) {
    const connection = await open(server.address, trust);
    assert.equal(connection.server.leafSha256.length, 32);
    connection.close();
  }
});

test('nothing is sent to a server that does not prove to be the CA', async (context) => {
  const root = makeAuthority('root', validity());
  const other = makeAuthority('root', validity());
  const leafFor = (
    uri: string,
    issuer: TestCertificate,
    change: Parameters<typeof leafExtensions>[1] = {},
    times = validity(),
  ): TestCertificate =>
    makeCertificate({
      key: makeKey(),
      issuer,
      ...times,
      extensions: leafExtensions(issuer, { san: extensions.san([uri]), ...change }),
    });
  const good = 'spiffe://td/meshca/server';
  const trust: ServerTrust = {
    kind: 'bundle',
    roots: () => [root.parsed.raw],
    issuers: issuersByMark,
  };
  const print: ServerTrust = {
    kind: 'fingerprint',
    rootsSha256Hex: [sha256Hex(root.parsed.raw)],
    issuers: issuersByMark,
  };
  const cases: [
    string,
    TestCertificate,
    TestCertificate[],
    ServerTrust,
    ('TLSv1.2' | undefined)?,
  ][] = [
    ['a workload under the same root', leafFor('spiffe://td/web', root), [root], trust],
    ['an agent under the same root', leafFor('spiffe://td/meshca/agent/x', root), [root], trust],
    [
      'an ID below the one of the server',
      leafFor('spiffe://td/meshca/server/x', root),
      [root],
      trust,
    ],
    ['another trust domain', leafFor('spiffe://other/meshca/server', root), [root], trust],
    ['another root', leafFor(good, other), [other], trust],
    ['another root that sends the right one along', leafFor(good, other), [other, root], trust],
    [
      'an expired certificate',
      leafFor(good, root, {}, { notBefore: seconds() - 7200, notAfter: seconds() - 60 }),
      [root],
      trust,
    ],
    [
      'a CA as leaf',
      leafFor(good, root, { basicConstraints: extensions.basicConstraints(true) }),
      [root],
      trust,
    ],
    [
      'two IDs',
      leafFor(good, root, { san: extensions.san([good, 'spiffe://td/x']) }),
      [root],
      trust,
    ],
    [
      'an empty bundle',
      leafFor(good, root),
      [root],
      { kind: 'bundle', roots: () => [], issuers: issuersByMark },
    ],
    ['a fingerprint that no certificate has', leafFor(good, other), [other], print],
    [
      'the right root sent along by a leaf under another',
      leafFor(good, other),
      [other, root],
      print,
    ],
    ['no root sent', leafFor(good, root), [], print],
    ['insecure, but a workload', leafFor('spiffe://td/web', root), [root], { kind: 'insecure' }],
  ];
  for (const [name, leaf, chain, how] of cases) {
    const { address, received, connections, ended } = await listener(context, leaf, chain);
    await assert.rejects(open(address, how), rejectsWith('SERVER_UNTRUSTED'), name);
    await until(() => ended() === 1, `${name}: the end of the connection`);
    assert.equal(received(), 0, `${name}: a byte left`);
    assert.equal(connections(), 1, name);
  }
});

test('a server of TLS 1.2 is refused', async (context) => {
  const root = makeAuthority('root', validity());
  const leaf = makeCertificate({
    key: makeKey(),
    issuer: root,
    ...validity(),
    extensions: leafExtensions(root, { san: extensions.san(['spiffe://td/meshca/server']) }),
  });
  const { address, received } = await listener(context, leaf, [root], 'TLSv1.2');
  await assert.rejects(
    open(address, { kind: 'bundle', roots: () => [root.parsed.raw], issuers: issuersByMark }),
    rejectsWith('UNREACHABLE'),
  );
  assert.equal(received(), 0);
});

test('no connection resumes a TLS session of an earlier one', async (context) => {
  const server = new FakeServer();
  await server.start();
  defer(context, () => server.stop());
  for (let round = 0; round < 3; round += 1)
    (
      await open(server.address, {
        kind: 'bundle',
        roots: () => [server.root.parsed.raw],
        issuers: issuersByMark,
      })
    ).close();
  assert.equal(server.resumed, 0);
});

test('a server that is down or never finishes its handshake is reported as unreachable in time', async (context) => {
  await assert.rejects(open('127.0.0.1:1', { kind: 'insecure' }), rejectsWith('UNREACHABLE'));
  const { createServer: createTcp } = await import('node:net');
  const sockets: import('node:net').Socket[] = [];
  const silent = createTcp((socket) => {
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => {
    silent.listen(0, '127.0.0.1', resolve);
  });
  defer(context, () => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const attempt = IssuerConnection.open({
    address,
    trust: { kind: 'insecure' },
    trustDomain: TrustDomain.of('td'),
    identity: undefined,
    clock: systemClock,
    connectTimeoutMs: 300,
    callDeadlineMs: 300,
    keepaliveMs: 30_000,
  });
  await assert.rejects(attempt, rejectsWith('UNREACHABLE'));
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  listenerAt,
  lookAt,
  never,
  probeRoot,
  proberOf,
  rawServer,
  serverKeys,
  serverPair,
  TestServer,
  tlsServer,
} from '../../../support/tls-servers.ts';
import { createRoot } from '../../../support/test-pki.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { until } from '../../../support/until.ts';

const pair = serverPair();
const otherRoot = createRoot('example.org', { subject: 'another root' });
const ca = [probeRoot, otherRoot].map(({ certificateDer }) => certificatesToPem([certificateDer]));

suite('one handshake', () => {
  for (const kind of serverKeys)
    for (const tlsVersion of ['1.2', '1.3'] as const)
      test(`shows what a server with a key of ${kind} presents in TLS ${tlsVersion}`, async () => {
        const presented = serverPair(kind);
        const version = `TLSv${tlsVersion}` as const;
        await using server = await tlsServer(presented, {
          minVersion: version,
          maxVersion: version,
        });
        const shown = unwrap(await lookAt(listenerAt(server.address)));
        assert.equal(shown.leafSha256, presented.leafSha256);
        assert.equal(shown.tlsVersion, tlsVersion);
        assert.equal(shown.caNamesDer, undefined);
      });

  for (const tlsVersion of ['1.2', '1.3'] as const)
    test(`shows whom a server asks certificates of in TLS ${tlsVersion}`, async () => {
      const version = `TLSv${tlsVersion}` as const;
      await using server = await tlsServer(pair, {
        minVersion: version,
        maxVersion: version,
        requestCert: true,
        ca,
      });
      const shown = unwrap(await lookAt(listenerAt(server.address)));
      const wanted = [probeRoot.subjectDer, otherRoot.subjectDer];
      assert.deepEqual(new Set(shown.caNamesDer), new Set(wanted));
    });

  for (const [suiteName, curve] of [
    ['TLS_AES_128_GCM_SHA256', 'X25519'],
    ['TLS_AES_256_GCM_SHA384', 'P-256'],
    ['TLS_CHACHA20_POLY1305_SHA256', 'P-384'],
    ['TLS_AES_256_GCM_SHA384', 'P-521'],
  ] as const)
    test(`goes through with ${suiteName} over ${curve}`, async () => {
      await using server = await tlsServer(pair, {
        minVersion: 'TLSv1.3',
        ciphers: suiteName,
        ecdhCurve: curve,
      });
      const shown = unwrap(await lookAt(listenerAt(server.address)));
      assert.equal(shown.leafSha256, pair.leafSha256);
    });

  test('ends in a way that a server takes for a good one', async () => {
    const errors: unknown[] = [];
    let closed = 0;
    await using server = await tlsServer(pair, { requestCert: true, rejectUnauthorized: false });
    server.server.on('tlsClientError', (error) => errors.push(error));
    server.server.on('secureConnection', (socket: NodeJS.EventEmitter) => {
      socket.on('error', (error) => errors.push(error));
      socket.on('close', () => (closed += 1));
    });
    for (let round = 0; round < 5; round += 1) unwrap(await lookAt(listenerAt(server.address)));
    await until(() => closed === 5, 'five connections were closed');
    assert.deepEqual(errors, []);
  });

  test('reaches Unix sockets and IPv6', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'meshca-probe-'));
    try {
      const unix = await tlsServer(pair);
      await unix[Symbol.asyncDispose]();
      for (const at of [{ path: join(folder, 'socket') }, { host: '::1' }]) {
        await using server = await new TestServer(unix.server).listen(at);
        const shown = unwrap(await lookAt(listenerAt(server.address)));
        assert.equal(shown.leafSha256, pair.leafSha256);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('asks for the server name, and shows what is presented under it', async () => {
    const other = serverPair();
    await using server = await tlsServer(pair);
    (server.server as ReturnType<typeof import('node:tls').createServer>).addContext(
      'other.example.org',
      { cert: other.cert, key: other.key },
    );
    const shownAs = async (serverName: string | undefined): Promise<string> =>
      unwrap(await lookAt(listenerAt(server.address, { serverName }))).leafSha256;
    assert.equal(await shownAs('other.example.org'), other.leafSha256);
    assert.equal(await shownAs('unknown.example.org'), pair.leafSha256);
    assert.equal(await shownAs(undefined), pair.leafSha256);
    assert.equal(await shownAs('127.0.0.1'), pair.leafSha256);
  });

  test('shows a server that takes only an application protocol of its own', async () => {
    await using server = await tlsServer(pair, { ALPNProtocols: ['something/1'] });
    const shown = unwrap(await lookAt(listenerAt(server.address)));
    assert.equal(shown.leafSha256, pair.leafSha256);
  });
});

const isRefused = async (server: TestServer, reason: RegExp, limitMs?: number): Promise<void> => {
  const answer = await lookAt(listenerAt(server.address), limitMs);
  assert.ok(!answer.ok, 'it was believed');
  assert.equal(answer.error.code, 'PROBE_FAILED');
  assert.match(answer.error.message, reason);
  assert.ok(answer.error.message.startsWith(server.address));
};

suite('what shows nothing is told with its address and reason', () => {
  test('a server that says nothing within the limit', async () => {
    await using server = await rawServer((socket) => void socket.resume());
    await isRefused(server, /no handshake within 0\.05 s/, 50);
  });

  test('a server that sends one byte at a time, for ever', async () => {
    await using server = await rawServer((socket) => {
      const header = Buffer.of(22, 3, 3, 0x40, 0);
      const drip = (at: number): void => {
        if (!socket.destroyed)
          socket.write(Buffer.of(header[at] ?? 0), () => setImmediate(drip, at + 1));
      };
      drip(0);
    });
    await isRefused(server, /no handshake within|sent more than|malformed|in place of/, 200);
  });

  test('a server that closes, and one that resets', async () => {
    await using closing = await rawServer((socket) => void socket.end());
    await isRefused(closing, /closed the connection|ECONNRESET|EPIPE/);
    await using resetting = await rawServer(
      (socket) => void socket.once('data', () => socket.resetAndDestroy()),
    );
    await isRefused(resetting, /ECONNRESET/);
  });

  test('a flood of records is cut off', async () => {
    let sent = 0;
    await using server = await rawServer((socket) => {
      const flood = Buffer.concat(
        Array.from({ length: 1_000 }, () => Buffer.of(20, 3, 3, 0, 1, 1)),
      );
      const pour = (): void => {
        sent += flood.length;
        if (!socket.destroyed) socket.write(flood, pour);
      };
      pour();
    });
    await isRefused(server, /sent more than 262144 bytes/);
    assert.ok(sent > 262_144);
  });

  test('a server of plain HTTP', async () => {
    await using server = await new TestServer(createHttpServer()).listen();
    await isRefused(server, /does not speak TLS: it sent "HTTP\/"/);
  });

  test('a server that refuses the handshake by an alert', async () => {
    await using server = await tlsServer(pair, {
      minVersion: 'TLSv1.3',
      sigalgs: 'RSA-PSS+SHA256',
    });
    await isRefused(server, /alert handshake_failure \(40\)/);
  });

  test('a server that knows only what came before TLS 1.2', async () => {
    await using server = await rawServer((socket) => {
      const body = Buffer.concat([Buffer.of(3, 1), Buffer.alloc(32, 7), Buffer.of(0, 0xc0, 9, 0)]);
      const hello = Buffer.concat([Buffer.of(2, 0, 0, body.length), body]);
      socket.write(Buffer.concat([Buffer.of(22, 3, 1, 0, hello.length), hello]));
    });
    await isRefused(server, /a version of TLS before 1\.2/);
  });

  test('an address that the configuration does not name is not connected to', async () => {
    let connections = 0;
    await using server = await rawServer(() => (connections += 1));
    const answer = await proberOf([listenerAt('127.0.0.1:1')]).look(
      listenerAt(server.address),
      never,
    );
    assert.ok(!answer.ok);
    assert.match(answer.error.message, /the configuration names no such listener/);
    assert.equal(connections, 0);
  });

  test('a look that is no longer wanted ends at once', async () => {
    const abort = new AbortController();
    await using server = await rawServer(() => abort.abort());
    const listener = listenerAt(server.address);
    const answer = await proberOf([listener]).look(listener, abort.signal);
    assert.ok(!answer.ok);
    assert.match(answer.error.message, /the probe was ended/);
  });
});

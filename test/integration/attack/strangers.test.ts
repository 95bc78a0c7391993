import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  connect as http2Connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2';
import { request as httpRequest } from 'node:http';
import { connect as tcpConnect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Logger } from '../../../src/common/runtime/index.ts';
import {
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { until } from '../../support/until.ts';

/** What somebody without a certificate, or without a business here, can do to the ports. */

let t: TestServer;
let agent: Credential;
const lines: Record<string, unknown>[] = [];
const logger = pino(
  { level: 'debug' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString('utf8')) as Record<string, unknown>);
      done();
    },
  }),
) as unknown as Logger;

before(async () => {
  t = await startTestServer({
    logger,
    config: { limits: { handshakes: 8, handshakeSeconds: 60, streamsPerConnection: 64 } },
  });
  agent = await t.joinAgent('node-1');
});
after(() => t?.[Symbol.asyncDispose]());

const stillServes = async (): Promise<void> => {
  assert.equal(
    await codeOf(
      unaryCall(t.client(agent), '/meshca.issuer.v1.AgentIssuer/SignX509Svids', { items: [] }),
    ),
    'INVALID_REQUEST',
  );
};

function session(): ClientHttp2Session {
  const opened = http2Connect(`https://127.0.0.1:${t.server.port}`, {
    rejectUnauthorized: false,
    servername: 'localhost',
  });
  opened.on('error', () => {});
  return opened;
}

/** `once` would reject with the error that such a connection ends with. */
const gone = (socket: Socket): Promise<void> =>
  new Promise((resolve) => void socket.on('close', () => resolve()));

const grpcHeaders = (path: string): Record<string, string> => ({
  ':method': 'POST',
  ':path': path,
  'content-type': 'application/grpc',
  te: 'trailers',
});

describe('strangers on the TLS port', () => {
  test('connections that never shake hands keep nobody out', async () => {
    const silent: Socket[] = [];
    try {
      for (let each = 0; each < 40; each += 1) {
        const socket = tcpConnect(t.server.port, '127.0.0.1');
        socket.on('error', () => {});
        await once(socket, 'connect');
        silent.push(socket);
      }
      // while they are silent still: none of them has been given up for its age
      const startedMs = performance.now();
      await stillServes();
      assert.ok(performance.now() - startedMs < 55_000);
    } finally {
      for (const socket of silent) socket.destroy();
    }
  });

  test('a message that is announced as large and never ends costs the sender his connection', async () => {
    const stranger = session();
    // `once` would reject with the error that such a connection may end with
    const closed = new Promise<void>((resolve) => void stranger.on('close', () => resolve()));
    const head = Buffer.from([0, 0, 0x3f, 0xff, 0xff]);
    for (let each = 0; each < 32; each += 1) {
      const stream = stranger.request(grpcHeaders('/meshca.issuer.v1.NodeAttestation/Attest'), {
        endStream: false,
      });
      stream.on('error', () => {});
      stream.write(head);
      stream.write(Buffer.alloc(1024 * 1024));
    }
    await closed;
    await stillServes();
  });

  test('a workload, which has no business here, is limited like a stranger', async () => {
    const workload = await t.mint('spiffe://mesh.test/some-workload');
    const client = t.client(workload);
    const result = await codeOf(
      unaryCall(client, '/meshca.admin.v1.Entries/CreateEntries', {
        entries: [{ hint: 'x'.repeat(3_000_000) }],
      }),
    );
    assert.ok(
      ['CALLER_NOT_ADMITTED', 'UNREACHABLE', 'CANCELLED', 'INTERNAL', 'OVERLOADED'].includes(
        result,
      ),
      result,
    );
    await stillServes();
  });

  test('headers without end, pings and resets in floods leave the server serving', async () => {
    const stranger = session();
    await once(stranger, 'connect');
    for (let each = 0; each < 20; each += 1) {
      const bomb = stranger.request({
        ...grpcHeaders('/grpc.health.v1.Health/Check'),
        'x-bomb': 'a'.repeat(60_000),
      });
      bomb.on('error', () => {});
      bomb.end();
    }
    for (let each = 0; each < 2_000 && !stranger.destroyed; each += 1) stranger.ping(() => {});
    for (let each = 0; each < 3_000 && !stranger.destroyed && !stranger.closed; each += 1) {
      const stream = stranger.request(grpcHeaders('/grpc.health.v1.Health/Check'));
      stream.on('error', () => {});
      stream.close(8);
    }
    // a ping is answered after all that was sent before it
    if (!stranger.destroyed && !stranger.closed)
      await Promise.race([
        new Promise((resolve) => stranger.ping(resolve)),
        once(stranger, 'close'),
      ]).catch(() => {});
    stranger.destroy();
    await stillServes();
  });

  test('being refused in a flood fills no log', async () => {
    const before = lines.filter(({ msg }) => msg === 'request refused').length;
    const startedMs = performance.now();
    const client = t.client();
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(
        Array.from({ length: 50 }, () =>
          codeOf(unaryCall(client, '/meshca.admin.v1.Server/GetStatus')),
        ),
      );
    }
    const written = lines.filter(({ msg }) => msg === 'request refused').length - before;
    // a burst of 100, and five for each second that it took, however slow the machine
    assert.ok(
      written > 0 && written <= 101 + 5 * ((performance.now() - startedMs) / 1000),
      `${written} lines`,
    );
  });

  test('streams of Health/Watch, and requests that never end, are few for strangers', async () => {
    const before = process.memoryUsage().rss;
    const strangers = Array.from({ length: 40 }, () => session());
    const open = new Set<ClientHttp2Stream>();
    try {
      let opened = 0;
      for (const stranger of strangers)
        for (let each = 0; each < 64; each += 1) {
          const method = each % 2 === 0 ? 'Watch' : 'Check';
          const stream = stranger.request(grpcHeaders(`/grpc.health.v1.Health/${method}`), {
            endStream: false,
          });
          stream.on('error', () => {});
          stream.on('close', () => open.delete(stream));
          stream.resume();
          open.add(stream);
          opened += 1;
          // a watch is whole with its request; a check never is
          if (method === 'Watch') stream.end(Buffer.alloc(5));
        }
      await until(() => open.size <= 256, 'the streams beyond the limit have ended');
      assert.ok(open.size >= 128, `${open.size} of ${opened} are open`);
      await stillServes();
      const newcomer = session();
      strangers.push(newcomer);
      const check = newcomer.request(grpcHeaders('/grpc.health.v1.Health/Check'));
      check.end(Buffer.alloc(5));
      check.resume();
      const [trailers] = (await once(check, 'trailers')) as [Record<string, string>];
      assert.equal(
        trailers['grpc-status'],
        '0',
        'the newest of an address is not the one that ends',
      );
    } finally {
      for (const stranger of strangers) stranger.destroy();
    }
    assert.ok(process.memoryUsage().rss - before < 512 * 1024 * 1024);
  });

  test('a second message while the first is worked on is refused once', async () => {
    const before = lines.filter(
      ({ msg, reason }) =>
        msg === 'request refused' && String(reason).includes('the expected step is'),
    ).length;
    const stranger = session();
    const stream = stranger.request(grpcHeaders('/meshca.issuer.v1.NodeAttestation/Attest'), {
      endStream: false,
    });
    stream.on('error', () => {});
    const ended = new Promise<void>((resolve) => {
      for (const event of ['end', 'close']) stream.on(event, () => resolve());
    });
    stream.resume();
    for (let each = 0; each < 1_000; each += 1) stream.write(Buffer.from([0, 0, 0, 0, 0]));
    await ended;
    stranger.destroy();
    const refused =
      lines.filter(
        ({ msg, reason }) =>
          msg === 'request refused' && String(reason).includes('the expected step is'),
      ).length - before;
    assert.ok(refused <= 1, `${refused} lines`);
  });

  test('connections that are gone as soon as they are made, on both ports, hurt nobody', async () => {
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(
        Array.from(
          { length: 20 },
          () =>
            new Promise<void>((resolve) => {
              const socket = tlsConnect(
                {
                  port: t.server.port,
                  host: '127.0.0.1',
                  rejectUnauthorized: false,
                  ALPNProtocols: ['h2'],
                },
                () => socket.destroy(),
              );
              socket.on('error', () => {});
              socket.on('close', () => resolve());
            }),
        ),
      );
      await Promise.all(
        Array.from(
          { length: 20 },
          () =>
            new Promise<void>((resolve) => {
              const socket = tcpConnect(t.server.port, '127.0.0.1', () => socket.resetAndDestroy());
              socket.on('error', () => {});
              socket.on('close', () => resolve());
            }),
        ),
      );
      await Promise.all(
        Array.from(
          { length: 20 },
          () =>
            new Promise<void>((resolve) => {
              const socket = tcpConnect(t.server.adminSocketPath, () => socket.destroy());
              socket.on('error', () => {});
              socket.on('close', () => resolve());
            }),
        ),
      );
    }
    await stillServes();
    assert.equal((await t.admin('Server/GetStatus')).ready, true);
  });

  test('bytes that are no TLS, no HTTP/2 and no gRPC are turned away', async () => {
    for (const bytes of [
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.alloc(100_000, 0x16),
    ]) {
      const socket = tcpConnect(t.server.port, '127.0.0.1', () => socket.write(bytes));
      socket.on('error', () => {});
      socket.resume();
      await gone(socket);
    }
    const junk = tlsConnect(
      { port: t.server.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      () => junk.write(Buffer.alloc(50_000, 0xff)),
    );
    junk.on('error', () => {});
    junk.resume();
    await gone(junk);
    const local = tcpConnect(t.server.adminSocketPath, () =>
      local.write(Buffer.alloc(50_000, 0xff)),
    );
    local.on('error', () => {});
    local.resume();
    await gone(local);
    await stillServes();
  });

  test('a request ID that would break a line of the log is not taken', async () => {
    const stranger = session();
    const stream = stranger.request({
      ...grpcHeaders('/meshca.admin.v1.Server/GetStatus'),
      'meshca-request-id': 'evil{"level":"fatal"}',
    });
    stream.on('error', () => {});
    const closed = new Promise<void>((resolve) => void stream.on('close', () => resolve()));
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
    stream.resume();
    await closed;
    stranger.destroy();
    assert.ok(!lines.some((line) => String(line['requestId']).includes('evil')));
  });
});

describe('the operations port', () => {
  const ask = (
    path: string,
    headers: Record<string, string> = {},
    method = 'GET',
  ): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: '127.0.0.1', port: t.server.opsPort, path, headers, method },
        (response) => {
          let body = '';
          response.on('data', (chunk: Buffer) => {
            body += chunk.toString('utf8');
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        },
      );
      request.on('error', reject);
      request.end();
    });

  test('strange paths are not found, and no error of ours', async () => {
    const before = lines.filter(({ level }) => level === 50).length;
    for (const path of [
      '//',
      '//evil/metrics',
      '/..//metrics',
      '/%00',
      '/bundle',
      '/crl/%2e%2e.crl',
      '/metrics/',
      `/${'a'.repeat(4_000)}`,
    ])
      assert.equal((await ask(path)).status, 404, path);
    assert.equal(lines.filter(({ level }) => level === 50).length, before);
  });

  test('metrics answer an address or localhost, not a name that a page made point here', async () => {
    assert.equal((await ask('/metrics', { host: 'rebound.example.com:9464' })).status, 421);
    assert.equal((await ask('/metrics', { host: '127.0.0.1:9464' })).status, 200);
    assert.equal((await ask('/metrics', { host: 'localhost' })).status, 200);
    assert.equal((await ask('/metrics', { host: '[::1]:9464' })).status, 200);
  });

  test('only reading is offered', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'TRACE', 'OPTIONS'])
      assert.equal((await ask('/metrics', {}, method)).status, 405, method);
  });
});

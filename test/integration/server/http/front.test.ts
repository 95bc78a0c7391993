import assert from 'node:assert/strict';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../../../src/common/x509/index.ts';
import {
  bundlePlugin,
  HttpFront,
  type HttpFrontSettings,
  type HttpIdentity,
  type HttpPlugin,
} from '../../../../src/server/http/index.ts';
import { createRoot, createSvid } from '../../../support/test-pki.ts';
import { until } from '../../../support/until.ts';

/** What a plug-in such as OCSP, ACME or the console needs, with an error form of its own. */
function toyPlugin(): HttpPlugin & { readonly hung: AbortSignal[] } {
  const hung: AbortSignal[] = [];
  return {
    hung,
    name: 'toy',
    listeners: ['tls', 'plain'],
    limits: { concurrent: 2, handlerSeconds: 1 },
    needsPublicBaseUrl: true,
    below: ['/toy/'],
    errorForm: ({ status, code, headers }) => ({
      status,
      headers: { 'content-type': 'application/toy-error', ...headers },
      body: `toy ${code}`,
    }),
    routes: [
      {
        method: 'GET',
        path: '/ocsp/',
        raw: true,
        handle: ({ rawRest }) => ({ status: 200, body: `raw ${rawRest}` }),
      },
      {
        method: 'POST',
        path: '/toy/echo',
        body: { maximumBytes: 1_000, types: ['application/toy'] },
        handle: ({ body, client, publicUrl }) => ({
          status: 201,
          headers: { location: publicUrl('/toy/1'), 'x-client': client },
          body,
        }),
      },
      {
        method: 'GET',
        path: '/toy/fail/:code',
        handle: ({ parameters, query }) => {
          if (parameters['code'] === 'defect') throw new Error('a secret of ours');
          throw new PkiError('NOT_FOUND', `no ${query.get('name')}`);
        },
      },
      {
        method: 'GET',
        path: '/toy/hang',
        handle: ({ signal }) => {
          hung.push(signal);
          return new Promise<never>(() => {});
        },
      },
    ],
  };
}

const root = createRoot('mesh.test');

/** A certificate that a test renews. */
function renewable(): HttpIdentity & { renew(): void; readonly serials: string[] } {
  const serials: string[] = [];
  const listeners = new Set<() => void>();
  const make = () => {
    const { chainDer, privateKey } = createSvid(root, 'spiffe://mesh.test/meshca/server');
    return {
      chainPem: certificatesToPem(chainDer),
      keyPem: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
    };
  };
  let current = make();
  return {
    serials,
    current: () => current,
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    renew: () => {
      current = make();
      for (const listener of listeners) listener();
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const limits = {
  connections: 16,
  headSeconds: 1,
  requestSeconds: 2,
  answerSeconds: 5,
} as const;
const settings: HttpFrontSettings = {
  publicBaseUrl: 'https://ca.example.org/base/',
  plain: { enabled: true, address: '127.0.0.1', port: 0, trustedProxies: ['127.0.0.9'] },
  tls: { enabled: true, address: '127.0.0.1', port: 0, trustedProxies: [] },
  limits,
};

describe('the HTTP front', () => {
  const toy = toyPlugin();
  const identity = renewable();
  const answered: string[] = [];
  const refused: string[] = [];
  let front: HttpFront;

  before(async () => {
    const bundle = bundlePlugin({ document: () => '{"keys":[]}', refreshHintSeconds: 300 });
    front = await HttpFront.start([bundle, toy], settings, {
      clock: systemClock,
      logger: silentLogger,
      observe: {
        answered: (plugin, status) => answered.push(`${plugin} ${status}`),
        refused: (listener, reason) => refused.push(`${listener} ${reason}`),
      },
    });
    await front.openTls(identity);
  });
  after(() => front[Symbol.asyncDispose]());

  const ask = (
    path: string,
    {
      method = 'GET',
      headers = {},
      body,
      localAddress,
    }: {
      readonly method?: string;
      readonly headers?: Record<string, string>;
      readonly body?: string;
      readonly localAddress?: string;
    } = {},
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        {
          host: '127.0.0.1',
          port: front.plainPort,
          path,
          method,
          headers,
          agent: false,
          ...(localAddress === undefined ? {} : { localAddress }),
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('error', reject);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(parts).toString(),
            }),
          );
        },
      );
      request.on('error', reject);
      request.end(body);
    });

  /** What the front says to bytes that are no proper request, until it ends the connection. */
  const say = async (text: string, localAddress = '127.0.0.1'): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: front.plainPort, localAddress });
    socket.write(text);
    let received = '';
    for await (const part of socket) received += String(part);
    return received;
  };

  test('answers a plug-in from both listeners; the bundle in the clear on loopback alone', async () => {
    const bundle = await ask('/bundle');
    assert.equal(bundle.status, 200);
    assert.equal(bundle.body, '{"keys":[]}');
    assert.equal(bundle.headers['cache-control'], 'max-age=300');
    assert.equal(bundle.headers['x-content-type-options'], 'nosniff');
    const head = await ask('/bundle', { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '11', '']);
    await using open = await HttpFront.start(
      [bundlePlugin({ document: () => '{}', refreshHintSeconds: 1 }), toy],
      { ...settings, plain: { ...settings.plain, address: '0.0.0.0' } },
      { clock: systemClock, logger: silentLogger, observe: { answered() {}, refused() {} } },
    );
    const at = `http://127.0.0.1:${open.plainPort}`;
    assert.equal((await fetch(`${at}/bundle`)).status, 404);
    assert.equal((await fetch(`${at}/ocsp/x`)).status, 200);
  });

  test('hands a raw path over as it was sent', async () => {
    for (const rest of ['MFEwTzBN/+', 'a//b', '%2Fx%2f', '..%2f..', '%zz', ''])
      assert.equal((await ask(`/ocsp/${rest}`)).body, `raw ${rest}`);
  });

  test('hands a raw body over, and names its own address and the client', async () => {
    const headers = { 'content-type': 'application/toy', host: 'evil.example.com' };
    const answer = await ask('/toy/echo', { method: 'POST', headers, body: '\u0000{"' });
    assert.deepEqual([answer.status, answer.body], [201, '\u0000{"']);
    assert.equal(answer.headers.location, 'https://ca.example.org/base/toy/1');
    assert.equal(answer.headers['x-client'], '127.0.0.1');
    const forwarded = { ...headers, 'x-forwarded-for': '6.6.6.6, 192.0.2.1' };
    const through = { method: 'POST', headers: forwarded, body: 'x', localAddress: '127.0.0.9' };
    assert.equal((await ask('/toy/echo', through)).headers['x-client'], '192.0.2.1');
  });

  test('tells in the form of the plug-in what a handler threw, without what is ours alone', async () => {
    const missing = await ask('/toy/fail/x?name=thing');
    assert.deepEqual([missing.status, missing.body], [404, 'toy NOT_FOUND']);
    const defect = await ask('/toy/fail/defect');
    assert.deepEqual([defect.status, defect.body], [500, 'toy INTERNAL']);
  });

  test('tells in the form of the plug-in what never came to a handler', async () => {
    const type = 'application/toy-error';
    const form = async (path: string, options: Parameters<typeof ask>[1], status: number) => {
      const answer = await ask(path, options);
      assert.deepEqual([answer.status, answer.headers['content-type']], [status, type], path);
      return answer;
    };
    const toyType = { 'content-type': 'application/toy' };
    await form('/toy/none', {}, 404);
    const other = await form('/toy/echo', { method: 'DELETE' }, 405);
    assert.equal(other.headers.allow, 'POST');
    const large = { method: 'POST', headers: toyType, body: 'x'.repeat(1_001) };
    await form('/toy/echo', large, 413);
    await form(
      '/toy/fail/x',
      { method: 'GET', headers: { 'content-length': '1' }, body: 'x' },
      413,
    );
    const chunked = { 'transfer-encoding': 'chunked', ...toyType };
    await form('/toy/echo', { ...large, headers: chunked, body: 'x'.repeat(5_000_000) }, 413);
    await form('/toy/echo', { ...large, headers: {}, body: 'x' }, 415);
    const zipped = { ...toyType, 'content-encoding': 'gzip' };
    await form('/toy/echo', { ...large, headers: zipped, body: 'x' }, 415);
    const slow = await say(
      'POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/toy\r\ncontent-length: 9\r\n\r\nx',
    );
    assert.match(slow, /^HTTP\/1\.1 408 [^]*application\/toy-error[^]*toy DEADLINE_EXCEEDED$/);
    const hostless = await say('GET /toy/none HTTP/1.1\r\nconnection: close\r\n\r\n');
    assert.match(hostless, /^HTTP\/1\.1 400 [^]*toy INVALID_REQUEST$/);
  });

  test('tells in its own form what names no resource', async () => {
    const own = (text: string, status: number, code: string): void =>
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} [^]*"code":"${code}"[^]*"next":`), text);
    own(await say('GET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'), 404, 'NOT_FOUND');
    own(await say(`GET /toy/x HTTP/1.1\r\nx: ${'y'.repeat(20_000)}`), 431, 'REQUEST_TOO_LARGE');
    own(await say('GET /toy/x HTT'), 408, 'DEADLINE_EXCEEDED');
    own(await say('\u0016\u0003\u0001nonsense\r\n\r\n'), 400, 'INVALID_REQUEST');
  });

  test('takes the absolute form of a path, whatever host it names', async () => {
    const request =
      'GET http://evil.example.com/ocsp//x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
    assert.match(await say(request), /raw \/x$/);
  });

  test('ends what takes too long, and takes no more at once than a plug-in bears', async () => {
    const hanging = [ask('/toy/hang'), ask('/toy/hang')];
    await until(() => toy.hung.length === 2, 'two requests under way');
    const third = await ask('/toy/hang');
    assert.deepEqual(
      [third.status, third.body, third.headers['retry-after']],
      [503, 'toy OVERLOADED', '1'],
    );
    for (const { status, body } of await Promise.all(hanging))
      assert.deepEqual([status, body], [503, 'toy DEADLINE_EXCEEDED']);
    assert.ok(toy.hung.every(({ aborted }) => aborted));
  });

  test('tells a handler that its client went away', async () => {
    // what hung before never ends and keeps its places: a front of its own
    const own = toyPlugin();
    await using open = await HttpFront.start([own], settings, {
      clock: systemClock,
      logger: silentLogger,
      observe: { answered() {}, refused() {} },
    });
    const socket = connect({ host: '127.0.0.1', port: open.plainPort });
    socket.write('GET /toy/hang HTTP/1.1\r\nhost: x\r\n\r\n');
    await until(() => own.hung.length === 1, 'the request under way');
    socket.destroy();
    await until(() => own.hung[0]?.aborted === true, 'the signal');
    assert.deepEqual(
      own.hung.map(({ reason }) => (reason as PkiError).code),
      ['CANCELLED'],
    );
  });

  test('shows the renewed certificate on TLS 1.3 without a restart', async () => {
    const presented = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = tlsConnect(
          { host: '127.0.0.1', port: front.tlsPort, rejectUnauthorized: false },
          () => {
            assert.equal(socket.getProtocol(), 'TLSv1.3');
            resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
            socket.destroy();
          },
        );
        socket.on('error', reject);
      });
    const first = await presented();
    assert.equal(await presented(), first);
    identity.renew();
    assert.notEqual(await presented(), first);
    const body = await new Promise<string>((resolve, reject) => {
      httpsRequest(
        { host: '127.0.0.1', port: front.tlsPort, path: '/bundle', rejectUnauthorized: false },
        (response) => response.on('data', (part: Buffer) => resolve(String(part))),
      )
        .on('error', reject)
        .end();
    });
    assert.equal(body, '{"keys":[]}');
    assert.ok(answered.includes('bundle 200') && answered.includes('toy 413'), answered.join());
  });

  test('does not start a plug-in that needs a public base URL without one', async () => {
    const { publicBaseUrl: _, ...without } = settings;
    const dependencies = {
      clock: systemClock,
      logger: silentLogger,
      observe: { answered() {}, refused() {} },
    };
    await assert.rejects(HttpFront.start([toy], without, dependencies), {
      code: 'CONFIG_INVALID',
      message: 'toy needs http.publicBaseUrl',
    });
    const taken = { ...settings, plain: { ...settings.plain, port: front.plainPort } };
    await assert.rejects(HttpFront.start([toy], taken, dependencies), { code: 'SOCKET_IN_USE' });
  });
});

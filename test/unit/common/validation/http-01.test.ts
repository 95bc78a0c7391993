import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { AddressPolicy } from '../../../../src/common/validation/address-policy.ts';
import { Dialer } from '../../../../src/common/validation/dialer.ts';
import { validateHttp01 } from '../../../../src/common/validation/http-01.ts';
import { invalid, type Judged, type Evidence } from '../../../../src/common/validation/outcome.ts';

const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA';
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`;
const names = new Map<string, readonly string[]>();
const real = new AddressPolicy({ allowed: ['0.0.0.0/0', '::/0'], denied: [], isOwn: () => false });
/** Loopback stands for the inside here; every other address is judged as in production. */
const dialer = new Dialer({
  addressesOf: (name) => {
    const value = names.get(name);
    return Promise.resolve(
      value === undefined ? invalid('dns', `${name} does not exist`) : { ok: true, value },
    );
  },
  policy: {
    refusal: (address, port) => (address === '127.0.0.1' ? undefined : real.refusal(address, port)),
  },
  connectTimeoutMs: 5000,
});

let answer: RequestListener = (_, response) => response.end();
const server = createServer((incoming, response) => answer(incoming, response));
let port = 0;
const listen = (listening: Server): Promise<number> =>
  new Promise((resolve) =>
    listening.listen(0, '127.0.0.1', () => resolve((listening.address() as AddressInfo).port)),
  );
const portOf = (): { http: number; https: number } => ({ http: port, https: 443 });
const validate = (host = 'app.test', signal = AbortSignal.timeout(20_000)) =>
  validateHttp01({ host, token, keyAuthorization }, { dialer, ports: portOf() }, signal);
const failureOf = (judged: Judged<Evidence>): { type: string; detail: string } =>
  judged.ok ? { type: 'valid', detail: '' } : judged.failure;

before(async () => {
  port = await listen(server);
  names.set('app.test', ['127.0.0.1']);
  names.set('other.test', ['127.0.0.1']);
  names.set('inside.test', ['169.254.169.254', '::1', '::ffff:127.0.0.1']);
  names.set('both.test', ['::1', '127.0.0.1']);
  names.set('empty.test', []);
});
after(() => server.close());

it('says little of a name with very many addresses, since each failure is on record', async () => {
  names.set(
    'many.test',
    Array.from({ length: 4_000 }, (_, at) => `169.254.${at >> 8}.${at & 255}`),
  );
  const { type, detail } = failureOf(await validate('many.test'));
  assert.equal(type, 'rejectedIdentifier');
  assert.ok(detail.length < 2_000, `${detail.length} characters`);
});

const redirectTo =
  (location: string): RequestListener =>
  (incoming, response) => {
    if (incoming.headers.host?.startsWith('app.test') === true)
      response.writeHead(302, { location }).end();
    else response.end(keyAuthorization);
  };

describe('http-01', () => {
  it('is valid where the key authorization stands, with white space behind it', async () => {
    let asked = '';
    answer = (incoming, response) => {
      asked = `${incoming.headers.host} ${incoming.url}`;
      response.end(`${keyAuthorization}\r\n `);
    };
    const judged = await validate();
    assert.deepEqual(judged, { ok: true, value: { seenAt: [`127.0.0.1 port ${port}`] } });
    assert.equal(asked, `app.test:${port} /.well-known/acme-challenge/${token}`);
  });

  it('is invalid with another answer, of which the detail says nothing', async () => {
    for (const body of [`${keyAuthorization}x`, ` ${keyAuthorization}`, 'secret', '', 'é']) {
      answer = (_, response) => response.end(body);
      const failure = failureOf(await validate());
      assert.equal(failure.type, 'unauthorized', body);
      assert.ok(body === '' || !failure.detail.includes(body), failure.detail);
    }
  });

  it('reads no long answer', async () => {
    answer = (_, response) => response.end(`${keyAuthorization}${' '.repeat(100_000)}`);
    assert.equal(failureOf(await validate()).type, 'unauthorized');
  });

  it('is invalid with another status', async () => {
    for (const status of [204, 304, 401, 404, 500]) {
      answer = (_, response) => response.writeHead(status).end();
      const failure = failureOf(await validate());
      assert.equal(failure.type, 'unauthorized');
      assert.match(failure.detail, new RegExp(`status ${status}`));
    }
  });

  it('follows redirects to the same ports', async () => {
    answer = redirectTo(`http://other.test:${port}/somewhere`);
    const judged = await validate();
    assert.ok(judged.ok && judged.value.seenAt.length === 2, JSON.stringify(judged));
  });

  it('ends redirects that go round', async () => {
    answer = redirectTo(`http://app.test:${port}/again`);
    assert.match(failureOf(await validate()).detail, /more than 10 times/);
  });

  const elsewhere = [
    ['another port', () => 'http://other.test:22/', 'connection'],
    ['another scheme', () => 'file:///etc/passwd', 'connection'],
    ['gopher', () => `gopher://other.test:${port}/`, 'connection'],
    ['an IP address', () => `http://127.0.0.1:${port}/`, 'connection'],
    ['an IPv6 address', () => `http://[::1]:${port}/`, 'connection'],
    ['a number that is an address', () => `http://2130706433:${port}/`, 'connection'],
    ['an octal address', () => `http://0177.0.0.1:${port}/`, 'connection'],
    ['no host name', () => `http://under_score.test:${port}/`, 'connection'],
    ['a URL with a password', () => `http://a:b@other.test:${port}/`, 'connection'],
    ['no URL', () => 'http://', 'connection'],
    ['a name that leads inside', () => `http://inside.test:${port}/`, 'rejectedIdentifier'],
    ['a name that does not exist', () => `http://absent.test:${port}/`, 'dns'],
  ] as const;
  for (const [name, location, type] of elsewhere)
    it(`follows no redirect to ${name}`, async () => {
      answer = redirectTo(location());
      assert.equal(failureOf(await validate()).type, type);
    });

  it('dials no address of a name that is not allowed, and says so', async () => {
    const failure = failureOf(await validate('inside.test'));
    assert.equal(failure.type, 'rejectedIdentifier');
    assert.match(failure.detail, /169\.254\.169\.254 was not dialled/);
  });

  it('goes on with the next address', async () => {
    answer = (_, response) => response.end(keyAuthorization);
    assert.ok((await validate('both.test')).ok);
  });

  it('of a name without an address is a problem of DNS', async () => {
    assert.equal(failureOf(await validate('empty.test')).type, 'dns');
  });

  it('validates an IP address', async () => {
    answer = (_, response) => response.end(keyAuthorization);
    assert.ok((await validate('127.0.0.1')).ok);
    assert.equal(failureOf(await validate('::1')).type, 'rejectedIdentifier');
  });

  it('needs an answer in HTTP', async () => {
    const raw = createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    });
    const other = await listen(raw);
    const judged = await validateHttp01(
      { host: 'app.test', token, keyAuthorization },
      { dialer, ports: { http: other, https: 443 } },
      AbortSignal.timeout(20_000),
    );
    raw.close();
    assert.equal(failureOf(judged).type, 'connection');
  });

  it('ends with its signal, also while a host is silent', async () => {
    const silent = createTcpServer((socket) => socket.on('error', () => {}));
    const other = await listen(silent);
    const controller = new AbortController();
    silent.once('connection', () => controller.abort());
    const judged = await validateHttp01(
      { host: 'app.test', token, keyAuthorization },
      { dialer, ports: { http: other, https: 443 } },
      controller.signal,
    );
    silent.close();
    assert.deepEqual(failureOf(judged).type, 'connection');
    assert.match(failureOf(judged).detail, /in time|time of the validation/);
  });

  it('names no token where it fails', async () => {
    names.set('app.test', ['127.0.0.1']);
    for (const status of [200, 404]) {
      answer = (_, response) => response.writeHead(status).end('something else');
      const judged = await validate('app.test');
      assert.ok(!judged.ok && !judged.failure.detail.includes(token), JSON.stringify(judged));
    }
  });
});

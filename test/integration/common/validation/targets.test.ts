import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import http, { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { TaskedVantagePoint } from '../../../../sidecar/vantage/index.ts';
import { silentLogger, systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { ipOctets } from '../../../../src/common/x509/ip-address.ts';
import { createValidator } from '../../../../src/common/validation/create-validator.ts';
import {
  invalid,
  type Evidence,
  type FailureType,
  type Judged,
} from '../../../../src/common/validation/outcome.ts';
import type { ValidationAsk } from '../../../../src/common/validation/validator.ts';
import { FakeClock } from '../../../support/agent.ts';
import { DnsServer, dnsIpv4, dnsName, dnsText } from '../../../support/dns-server.ts';
import { lanAddress } from '../../../support/lan.ts';
import { until } from '../../../support/until.ts';

/** What an account that may order a name could reach by it. The body of whatever answers: */
const secret = 'BODY-OF-AN-INSIDE-SERVICE';
const lan = lanAddress();
const token = 'evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA';
const keyAuthorization = `${token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI`;

let dns: DnsServer;
let answer: RequestListener;
const front = createHttpServer((incoming, response) => answer(incoming, response));
let httpPort = 0;
let httpsPort = 0;
let inside: Server;
let own: Server;
const dialled: string[] = [];
let insideConnections = 0;

/** Every socket of this process that connects, whoever made it. */
const watch = (message: unknown): void => {
  const { socket } = message as { readonly socket: Socket };
  socket.once('connectionAttempt', (address: string, port: number) => {
    dialled.push(`${address} ${port}`);
  });
};
const listen = (server: Server, host: string, port = 0): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
const counting = (): Server =>
  createServer((socket) => {
    insideConnections += 1;
    socket.on('error', () => {});
    socket.end(`HTTP/1.1 200 OK\r\n\r\n${secret}`);
  });

before(async () => {
  channel('net.client.socket').subscribe(watch);
  dns = await DnsServer.open();
  httpPort = await listen(front, lan);
  inside = counting();
  own = counting();
  // the same port at loopback: whatever dials there is counted
  await listen(inside, '127.0.0.1', httpPort);
  httpsPort = await listen(own, lan);
});
after(() => {
  channel('net.client.socket').unsubscribe(watch);
  dns.close();
  front.closeAllConnections();
  for (const server of [front, inside, own]) server.close();
});
beforeEach(() => {
  dns.zone.clear();
  dialled.length = 0;
  insideConnections = 0;
  answer = (_, response) => response.end(secret);
  addresses('app.test', [lan]);
});

/** As a server of DNS may send it: an IPv4-mapped address is no text of ours. */
function octetsOf(ip: string): Buffer {
  const mapped = /^::ffff:([\d.]+)$/.exec(ip)?.[1];
  return mapped === undefined
    ? (ipOctets(ip) as Buffer)
    : Buffer.concat([Buffer.alloc(10), Buffer.from('ffff', 'hex'), ipOctets(mapped) as Buffer]);
}

function addresses(name: string, ips: readonly string[]): void {
  const of = (length: number): readonly Buffer[] =>
    ips.map(octetsOf).filter((octets) => octets.length === length);
  dns.zone.set(`${name} A`, of(4));
  dns.zone.set(`${name} AAAA`, of(16));
}

interface Options {
  readonly denied?: readonly string[];
  readonly allowed?: readonly string[];
  readonly clock?: FakeClock;
}

interface Way {
  readonly name: string;
  /** Whether a failure says more than its type. */
  readonly tells: boolean;
  readonly validate: (ask: ValidationAsk, options: Options) => Promise<Judged<Evidence>>;
}

/** The widest configuration that there is, and no pauses between attempts. */
const settingsOf = ({ allowed = ['0.0.0.0/0', '::/0'], denied = [] }: Options) => ({
  ...{ allowedNetworks: allowed, deniedNetworks: denied, resolvers: [dns.endpoint] },
  ...{ httpPort, httpsPort, timeoutSeconds: 30 },
});
const clockOf = ({ clock }: Options): Clock =>
  clock ?? { ...systemClock, sleep: () => Promise.resolve() };
const caaIdentities = ['ca.test'];
const listeners = () => [{ address: '0.0.0.0', port: httpsPort }];
const { signal: never } = new AbortController();

const server: Way = {
  name: 'the server',
  tells: true,
  validate: (ask, options) =>
    createValidator({
      ...{ settings: { ...settingsOf(options), caaIdentities }, listeners },
      clock: clockOf(options),
    }).validate(ask, never),
};

/** What the server sends, and what comes back to it. */
const agent: Way = {
  name: 'a vantage agent',
  tells: false,
  async validate(ask, options) {
    const clock = clockOf(options);
    const point = new TaskedVantagePoint({
      config: { ...settingsOf(options), concurrent: 100, perSecond: 1_000 },
      validatorOf: (settings) => createValidator({ settings, listeners, clock }),
      onResult: () => {},
      ...{ clock, logger: silentLogger },
    });
    const { type: challenge, identifier, ...rest } = ask;
    const result = await point.carryOut(
      {
        ...{ taskId: 'task', challenge, caaMethod: '', timeoutSeconds: 30, ...rest },
        ...{ identifierType: identifier.type, identifierValue: identifier.value },
        caaIdentities: [...caaIdentities],
      },
      never,
    );
    assert.ok(!JSON.stringify(result).includes(secret), JSON.stringify(result));
    const seenAt = result.seenAt ?? [];
    if (result.result === 'agreed') return { ok: true, value: { seenAt } };
    // what the agent refuses to begin with is refused before anything is looked up
    return invalid(
      result.result === 'absent' ? 'rejectedIdentifier' : (result.code as FailureType),
      '',
      seenAt,
    );
  },
};

function refused(judged: Judged<Evidence>, type?: string): string {
  assert.ok(!judged.ok, JSON.stringify(judged));
  assert.ok(!JSON.stringify(judged).includes(secret), JSON.stringify(judged));
  if (type !== undefined) assert.equal(judged.failure.type, type, judged.failure.detail);
  return judged.failure.detail;
}
const nothingDialled = (): void => {
  assert.deepEqual(dialled, []);
  assert.equal(insideConnections, 0);
};

const addressesNeverDialled = [
  ['this host', '0.0.0.0'],
  ['this network', '0.1.2.3'],
  ['loopback', '127.0.0.1'],
  ['all of loopback', '127.255.255.254'],
  ['link-local', '169.254.1.1'],
  ['metadata of clouds', '169.254.169.254'],
  ['credentials of containers', '169.254.170.2'],
  ['metadata of Alibaba', '100.100.100.200'],
  ['the wire server of Azure', '168.63.129.16'],
  ['metadata of Oracle', '192.0.0.192'],
  ['6to4 relays', '192.88.99.1'],
  ['multicast', '224.0.0.1'],
  ['reserved', '240.0.0.1'],
  ['broadcast', '255.255.255.255'],
  ['unspecified', '::'],
  ['loopback', '::1'],
  ['IPv4-compatible loopback', '::7f00:1'],
  ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
  ['IPv4-mapped private', '::ffff:10.0.0.1'],
  ['IPv4-translated', '::ffff:0:7f00:1'],
  ['NAT64', '64:ff9b::7f00:1'],
  ['local NAT64', '64:ff9b:1::7f00:1'],
  ['discard', '100::1'],
  ['Teredo', '2001:0:7f00:1::1'],
  ['6to4 of loopback', '2002:7f00:1::'],
  ['ISATAP', 'fd12::5efe:7f00:1'],
  ['link-local', 'fe80::1'],
  ['site-local', 'fec0::1'],
  ['multicast', 'ff02::1'],
  ['metadata of Amazon', 'fd00:ec2::254'],
  ['metadata of Google', 'fd20:ce::254'],
] as const;

const redirects = [
  ['another port', (port: number) => `http://app.test:${port + 1}/`],
  ['the port of SSH', () => 'http://app.test:22/'],
  ['a name with userinfo', (port: number) => `http://user:pass@app.test:${port}/`],
  ['userinfo that looks like the host', (port: number) => `http://app.test@127.0.0.1:${port}/`],
  ['a file', () => 'file:///etc/passwd'],
  ['gopher', (port: number) => `gopher://app.test:${port}/`],
  ['ftp', (port: number) => `ftp://app.test:${port}/`],
  ['data', () => 'data:text/plain,x'],
  ['javascript', () => 'javascript:1'],
  ['a Unix socket', () => 'unix:/run/docker.sock'],
  ['an address as a number', (port: number) => `http://2130706433:${port}/`],
  ['an address in hex', (port: number) => `http://0x7f000001:${port}/`],
  ['an octal address', (port: number) => `http://0177.0.0.1:${port}/`],
  ['a short address', (port: number) => `http://127.1:${port}/`],
  ['full-width digits', (port: number) => `http://１２７.0.0.1:${port}/`],
  ['localhost', (port: number) => `http://localhost:${port}/`],
  ['a name with a dot behind', (port: number) => `http://localhost.:${port}/`],
  ['an address with a zone', (port: number) => `http://[fe80::1%25eth0]:${port}/`],
  ['a URL without a scheme', (port: number) => `//127.0.0.1:${port}/`],
  ['a backslash', (port: number) => `http:\\\\127.0.0.1:${port}\\`],
  ['a long URL', (port: number) => `http://app.test:${port}/${'a'.repeat(3000)}`],
] as const;

for (const way of [server, agent])
  describe(`by ${way.name},`, () => {
    const validate = (ask: Partial<ValidationAsk>, options: Options = {}) =>
      way.validate(
        {
          ...{ type: 'http-01', identifier: { type: 'dns', value: 'app.test' }, wildcard: false },
          ...{ token, keyAuthorization, accountUri: 'https://ca.test/acme/account/1', ...ask },
        },
        options,
      );
    const told = (detail: string, text: RegExp): void =>
      way.tells ? assert.match(detail, text) : assert.equal(detail, '');

    describe('no validation dials', () => {
      for (const [what, address] of addressesNeverDialled)
        it(`${what} (${address}): by a name, as an identifier, after a redirect, over TLS`, async () => {
          addresses('evil.test', [address]);
          const evil = { identifier: { type: 'dns', value: 'evil.test' } } as const;
          const ip = { identifier: { type: 'ip', value: address } } as const;
          for (const ask of [
            evil,
            ip,
            { ...evil, type: 'tls-alpn-01' },
            { ...ip, type: 'tls-alpn-01' },
          ])
            refused(await validate(ask as Partial<ValidationAsk>), 'rejectedIdentifier');
          nothingDialled();
          const host = address.includes(':') ? `[${address}]` : address;
          const to = { name: `http://evil.test:${httpPort}/`, ip: `http://${host}:${httpPort}/` };
          for (const location of [to.name, to.ip]) {
            answer = (_, response) => response.writeHead(302, { location }).end(secret);
            refused(await validate({}));
          }
          assert.ok(
            dialled.every((each) => each === `${lan} ${httpPort}`),
            dialled.join(),
          );
          assert.equal(insideConnections, 0);
        });

      it('a network that is denied, nor one that is not allowed', async () => {
        refused(await validate({}, { denied: [`${lan}/32`] }), 'rejectedIdentifier');
        refused(await validate({}, { allowed: ['203.0.113.0/24'] }), 'rejectedIdentifier');
        refused(await validate({}, { allowed: [] }), 'rejectedIdentifier');
        nothingDialled();
      });

      it('a port at which the server itself listens', async () => {
        refused(await validate({ type: 'tls-alpn-01' }), 'rejectedIdentifier');
        nothingDialled();
        answer = (_, response) =>
          response.writeHead(302, { location: `https://app.test:${httpsPort}/` }).end();
        refused(await validate({}), 'rejectedIdentifier');
        assert.ok(!dialled.includes(`${lan} ${httpsPort}`));
      });

      it('the loopback address of a name that has others: they are dialled', async () => {
        addresses('mixed.test', ['::1', '127.0.0.1', '169.254.169.254', lan]);
        refused(
          await validate({ identifier: { type: 'dns', value: 'mixed.test' } }),
          'unauthorized',
        );
        assert.deepEqual([...new Set(dialled)], [`${lan} ${httpPort}`]);
        assert.equal(insideConnections, 0);
      });

      it('an address that a second answer of DNS has (rebinding)', async () => {
        let asks = 0;
        dns.zone.set('rebind.test A', () => [dnsIpv4(asks++ === 0 ? lan : '127.0.0.1')]);
        answer = (_, response) =>
          response.writeHead(302, { location: `http://rebind.test:${httpPort}/again` }).end(secret);
        const detail = refused(
          await validate({ identifier: { type: 'dns', value: 'rebind.test' } }),
          'rejectedIdentifier',
        );
        told(detail, /127\.0\.0\.1 was not dialled/);
        assert.deepEqual(dialled, [`${lan} ${httpPort}`]);
        assert.equal(insideConnections, 0);
      });

      it('a name server at an address that is never dialled', async () => {
        for (const address of ['127.0.0.1', '169.254.169.254', '10.255.255.1']) {
          dns.zone.set('zone.test NS', [dnsName('ns.zone.test')]);
          addresses('ns.zone.test', [address]);
          const ask = { type: 'dns-01', identifier: { type: 'dns', value: 'zone.test' } } as const;
          const allowed = ['192.0.2.0/24'];
          const configured = dns.endpoint.startsWith(`${address}:`);
          const judged = await validate(ask, { allowed });
          // a configured resolver may also be the name server of a zone; an agent whose own
          // configuration forbids an address says nothing of it
          const forbidden = address.startsWith('10.') ? undefined : 'dns';
          refused(judged, configured ? 'unauthorized' : forbidden);
        }
        nothingDialled();
      });

      it('anything for a name whose CAA records allow other CAs alone', async () => {
        dns.zone.set('test CAA', [Buffer.from('\u0000\u0005issueother.test', 'latin1')]);
        for (const type of ['http-01', 'tls-alpn-01', 'dns-01'] as const)
          refused(await validate({ type }), 'caa');
        nothingDialled();
      });
    });

    describe('http-01 follows no redirect to', () => {
      for (const [what, location] of redirects)
        it(what, async () => {
          const headers = { location: Buffer.from(location(httpPort), 'utf8').toString('latin1') };
          answer = (_, response) => response.writeHead(302, headers).end(secret);
          refused(await validate({}));
          assert.deepEqual([...new Set(dialled)], [`${lan} ${httpPort}`]);
          assert.equal(insideConnections, 0);
        });
    });

    describe('http-01 bears', () => {
      it('redirects without end', async () => {
        answer = (_, response) =>
          response.writeHead(302, { location: `http://app.test:${httpPort}/again` }).end();
        told(refused(await validate({}), 'connection'), /more than 10 times/);
        assert.equal(dialled.length, 3 * 11);
      });

      it('a body of any size, of which it reads no more than a piece', async () => {
        let sent = 0;
        answer = (_, response) => {
          const more = (): void => {
            while (!response.destroyed && sent < 512 * 1024 * 1024) {
              sent += 65_536;
              if (!response.write(Buffer.alloc(65_536, secret))) {
                response.once('drain', more);
                return;
              }
            }
          };
          more();
        };
        refused(await validate({}), 'unauthorized');
        assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were sent`);
      });

      it('a redirect with the body of another service, of which nothing is told', async () => {
        answer = (_, response) =>
          response
            .writeHead(302, { location: `http://app.test:${httpPort}/${secret}` })
            .end(secret);
        refused(await validate({}), 'connection');
        answer = (incoming, response) =>
          incoming.url?.includes(secret) === true
            ? response.writeHead(500, secret, { server: secret }).end(secret)
            : response.writeHead(302, { location: `http://app.test:${httpPort}/${secret}` }).end();
        told(refused(await validate({}), 'unauthorized'), /status 500/);
      });

      it('headers without end', async () => {
        answer = (incoming) => {
          incoming.socket.write('HTTP/1.1 200 OK\r\n');
          const line = `x-${secret}: ${'a'.repeat(4000)}\r\n`;
          const more = (): void => {
            if (incoming.socket.destroyed) return;
            if (incoming.socket.write(line)) setImmediate(more);
            else incoming.socket.once('drain', more);
          };
          incoming.socket.on('error', () => {});
          more();
        };
        refused(await validate({}), 'connection');
      });

      for (const [what, first, again] of [
        ['a body that comes slowly', 'HTTP/1.1 200 OK\r\ncontent-length: 87\r\n\r\n', token[0]],
        ['headers that come slowly', 'HTTP/1.1 200 OK\r\n', 'x: y\r\n'],
        ['silence', '', undefined],
        ['interim answers', 'HTTP/1.1 103 Early Hints\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
      ] as const)
        it(`${what}, until its time is over`, async () => {
          const clock = new FakeClock();
          let asked: Socket | undefined;
          answer = ({ socket }) => {
            asked = socket;
            socket.on('error', () => {});
            if (first !== '') socket.write(first);
            if (again !== undefined) socket.write(again);
          };
          const judged = validate({}, { clock });
          await until(() => asked !== undefined);
          clock.advance(30_000);
          told(refused(await judged, 'connection'), /in time/);
          await until(() => asked?.destroyed === true);
        });
    });

    describe('a validation', () => {
      it('is valid where the name leads to an allowed address, and says what was dialled', async () => {
        answer = (_, response) => response.end(keyAuthorization);
        assert.deepEqual(await validate({}), {
          ok: true,
          value: { seenAt: [`${lan} port ${httpPort}`] },
        });
        assert.deepEqual(dialled, [`${lan} ${httpPort}`]);
      });

      it('is tried again, since a server may just be reloaded', async () => {
        let asks = 0;
        answer = (_, response) =>
          asks++ < 2 ? response.writeHead(503).end() : response.end(keyAuthorization);
        assert.ok((await validate({})).ok);
        assert.equal(asks, 3);
      });

      it('asks the configured resolvers for the records of a zone that has no name servers', async () => {
        const value = 'xxx';
        dns.zone.set('_validation-persist.app.test TXT', [
          dnsText(value),
          dnsText('ca.test; accounturi=https://ca.test/acme/account/1'),
        ]);
        assert.ok((await validate({ type: 'dns-persist-01' })).ok);
        assert.equal((await validate({ type: 'dns-persist-01', wildcard: true })).ok, false);
      });

      it('uses no proxy, also where all other requests of the process do', async () => {
        const usual = http.globalAgent;
        http.globalAgent = new http.Agent({
          proxyEnv: { HTTP_PROXY: `http://127.0.0.1:${httpPort}` },
        } as http.AgentOptions);
        try {
          answer = (_, response) => response.end(keyAuthorization);
          assert.ok((await validate({})).ok);
          assert.deepEqual(dialled, [`${lan} ${httpPort}`]);
          const proxied = await new Promise((resolve) =>
            http.get('http://app.test/', (response) => resolve(response.resume().statusCode)),
          );
          assert.equal(proxied, 200);
          assert.equal(insideConnections, 1);
        } finally {
          http.globalAgent = usual;
        }
      });
    });
  });

it('a validation of a name needs a resolver that is configured', async () => {
  const validator = createValidator({
    settings: {
      ...{
        allowedNetworks: ['0.0.0.0/0'],
        deniedNetworks: [],
        resolvers: [],
        caaIdentities: [],
      },
      ...{ httpPort, httpsPort, timeoutSeconds: 30 },
    },
    listeners: () => [],
    clock: systemClock,
  });
  const ask = {
    identifier: { type: 'dns', value: 'app.test' },
    token,
    keyAuthorization,
  } as const;
  const judged = await validator.validate(
    {
      ...ask,
      type: 'http-01',
      wildcard: false,
      accountUri: 'https://ca.test/acme/account/1',
    },
    new AbortController().signal,
  );
  assert.match(refused(judged, 'dns'), /acme\.validation\.resolvers/);
  nothingDialled();
});

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { explainOrder } from '../../../src/cli/acme-explain.ts';
import { challengeHost, type ChallengeHost } from '../../support/acme/http-01-server.ts';
import { acmeKey, AcmeWire, binding } from '../../support/acme/wire.ts';
import { agentSeat, type AgentSeat } from '../../support/agent-seat.ts';
import { DnsServer, dnsIpv4 } from '../../support/dns-server.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const name = 'www.shop.test';
const key = acmeKey();
const places = ['west', 'east'] as const;
type Place = (typeof places)[number];
const agentIdOf = (place: string): string => `spiffe://${testTrustDomain}/meshca/agent/${place}`;

interface Shown {
  readonly orderUrl: string;
  readonly challengeUrl: string;
}

describe('a server with vantage agents', () => {
  let host: ChallengeHost;
  let server: TestServer;
  let wire: AcmeWire;
  let kid: string;
  const resolvers = new Map<Place | 'server', DnsServer>();
  const seats = new Map<Place, AgentSeat>();
  const post = (url: string, payload?: object) => wire.post(url, payload, { key, kid });
  const poisoned = (place: Place, address: string): void =>
    void resolvers.get(place)?.zone.set(`${name} A`, [dnsIpv4(address)]);

  before(async () => {
    host = await challengeHost();
    for (const place of ['server', ...places] as const) {
      const dns = await DnsServer.open();
      dns.zone.set(`${name} A`, [dnsIpv4(host.address)]);
      resolvers.set(place, dns);
    }
    const port = await freePort();
    wire = new AcmeWire(`http://127.0.0.1:${port}/acme`);
    server = await startTestServer({
      config: {
        names: { enabled: true },
        http: { publicBaseUrl: `http://127.0.0.1:${port}`, plain: { port } },
        acme: {
          enabled: true,
          validation: {
            allowedNetworks: [`${host.address}/32`],
            resolvers: [resolvers.get('server')?.endpoint],
            httpPort: host.port,
            vantage: {
              perspectives: places.map((place) => ({ name: place, agentId: agentIdOf(place) })),
            },
          },
        },
      },
    });
    await server.admin('Tenants/CreateTenant', {
      tenant: { name: 'shop', description: 'the shop', dnsSuffixes: ['shop.test'] },
    });
    const made = await server.admin('Acme/CreateEabKey', {
      ...{ tenant: 'shop', dnsPatterns: ['*.shop.test'], profiles: ['short'] },
    });
    const eab = { id: made.key?.id as string, mac: made.macKey as Buffer };
    const url = `${wire.base}/new-account`;
    const externalAccountBinding = binding(eab, { url, jwk: key.jwk });
    kid = String((await wire.post(url, { externalAccountBinding }, { key })).headers.location);
  });

  after(async () => {
    for (const seat of seats.values()) await seat[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    for (const dns of resolvers.values()) dns.close();
    await host[Symbol.asyncDispose]();
  });

  async function agent(place: Place): Promise<void> {
    const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: place });
    const vantage = {
      ...{ enabled: true, allowedNetworks: ['0.0.0.0/0', '::/0'], httpPort: host.port },
      resolvers: [resolvers.get(place)?.endpoint],
    };
    const seat = await agentSeat(server, { joinToken: { token } }, { sections: { vantage } });
    seats.set(place, seat);
    await seat.start();
    await seat.connected();
  }

  /** An order whose host shows its challenge. */
  async function shown(): Promise<Shown> {
    const made = await post(`${wire.base}/new-order`, {
      identifiers: [{ type: 'dns', value: name }],
    });
    assert.equal(made.status, 201, made.text);
    const [authorization = ''] = made.json['authorizations'] as readonly string[];
    const { json } = await post(authorization);
    const challenges = json['challenges'] as readonly Readonly<Record<string, string>>[];
    const { token = '', url = '' } = challenges.find(({ type }) => type === 'http-01') ?? {};
    host.shown.set(token, `${token}.${await calculateJwkThumbprint(key.jwk as JWK)}`);
    return { orderUrl: String(made.headers.location), challengeUrl: url };
  }

  async function ended({ orderUrl }: Shown): Promise<string> {
    const statusOf = async () => String((await post(orderUrl)).json['status']);
    await until(async () => (await statusOf()) !== 'pending');
    return statusOf();
  }

  const orderOf = ({ orderUrl }: Shown) =>
    server.admin('Acme/GetOrder', { id: orderUrl.split('/').at(-1) as string });
  const seenIn = async (order: Shown): Promise<readonly string[]> => {
    const { authorizations } = await orderOf(order);
    return authorizations
      .flatMap(({ challenges }) => challenges.flatMap(({ perspectives }) => perspectives))
      .map(({ name: place, result, code }) => `${place} ${result} ${code}`.trim());
  };

  test('validates nothing while too few are connected: the challenge is asked for again later', async () => {
    const order = await shown();
    const refused = await post(order.challengeUrl, {});
    assert.equal(refused.status, 503, refused.text);
    assert.equal(refused.json['code'], 'ACME_VANTAGE_SHORT');
    assert.match(String(refused.headers['retry-after']), /^\d+$/);
    assert.match(String(refused.json['detail']), /for west, east\. .*vantage\.enabled/);
    await agent('west');
    assert.equal((await post(order.challengeUrl, {})).status, 503);
    await agent('east');
    assert.equal((await post(order.challengeUrl, {})).status, 200);
    assert.equal(await ended(order), 'ready');
    assert.deepEqual(await seenIn(order), ['west agreed', 'east agreed']);
  });

  test('lets no name pass of which one agent has another address, and says who saw what', async () => {
    poisoned('east', '127.0.0.9');
    const order = await shown();
    await post(order.challengeUrl, {});
    assert.equal(await ended(order), 'invalid');
    assert.deepEqual(await seenIn(order), ['west agreed', 'east disagreed rejectedIdentifier']);
    const { type, detail } = (await post(order.challengeUrl)).json['error'] as Record<
      string,
      string
    >;
    assert.equal(type, 'urn:ietf:params:acme:error:rejectedIdentifier');
    assert.match(
      String(detail),
      /1 of 2 vantage agents do not: east sees rejectedIdentifier\. .*\[ACME_VANTAGE_DISAGREES\]$/,
    );
    const explained = explainOrder({
      ...{ order: await orderOf(order), account: undefined, key: undefined, now: 0 },
    }).join('\n');
    assert.match(explained, /^- west sees the same, at \S+ port \d+\.$/m);
    assert.match(explained, /^- east sees something else: rejectedIdentifier\.$/m);
    const { records } = await server.admin('Audit/ListAuditRecords', {
      subject: order.orderUrl.split('/').at(-1) as string,
      kind: 'acme-challenge.failed',
    });
    assert.match(String(records[0]?.canonical), /east disagreed rejectedIdentifier/);
    poisoned('east', host.address);
    const again = await shown();
    await post(again.challengeUrl, {});
    assert.equal(await ended(again), 'ready');
    const metrics = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
    assert.match(
      metrics,
      /meshca_acme_perspectives_total\{perspective="east",result="disagreed"\} 1/,
    );
    assert.match(metrics, /meshca_acme_perspectives_total\{perspective="west",result="agreed"\} 3/);
  });

  test('needs CAA records that allow it from each place', async () => {
    const caa = Buffer.from('\u0000\u0005issueother.test', 'latin1');
    resolvers.get('west')?.zone.set('shop.test CAA', [caa]);
    const order = await shown();
    await post(order.challengeUrl, {});
    assert.equal(await ended(order), 'invalid');
    assert.deepEqual(await seenIn(order), ['west disagreed caa', 'east agreed']);
    resolvers.get('west')?.zone.delete('shop.test CAA');
  });

  test('asks an agent that is banned no more', async () => {
    await server.admin('Agents/BanAgent', { spiffeId: agentIdOf('east'), reason: 'test' });
    const order = await shown();
    const refused = await post(order.challengeUrl, {});
    assert.deepEqual([refused.status, refused.json['code']], [503, 'ACME_VANTAGE_SHORT']);
  });
});

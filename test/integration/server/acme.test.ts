import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { unwrap } from '../../../src/common/errors/index.ts';
import { certificatesFromPem, parseCertificate } from '../../../src/common/x509/index.ts';
import { certificateIdOf } from '../../../src/services/acme/certificate-id.ts';
import { challengeHost, type ChallengeHost } from '../../support/acme/http-01-server.ts';
import { acmeKey, AcmeWire, base64url, binding, jws } from '../../support/acme/wire.ts';
import { statedCsr } from '../../support/csr.ts';
import { dnsCaa, DnsServer } from '../../support/dns-server.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { newKey } from '../../support/services-world.ts';
import { until } from '../../support/until.ts';

const name = 'www.shop.test';
const key = acmeKey();

describe('ACME of a server with real tokens', () => {
  let host: ChallengeHost;
  let dns: DnsServer;
  let server: TestServer;
  let wire: AcmeWire;
  let eab: { readonly id: string; readonly mac: Buffer };
  let kid: string;
  let orderUrl: string;

  before(async () => {
    host = await challengeHost();
    dns = await DnsServer.open();
    dns.zone.set(`${name} A`, [Buffer.from(host.address.split('.').map(Number))]);
    const port = await freePort();
    wire = new AcmeWire(`http://127.0.0.1:${port}/acme`);
    server = await startTestServer({
      config: {
        names: { enabled: true },
        http: { publicBaseUrl: `http://127.0.0.1:${port}`, plain: { port } },
        acme: {
          enabled: true,
          caaIdentities: ['ca.test'],
          validation: {
            allowedNetworks: [`${host.address}/32`],
            resolvers: [dns.endpoint],
            httpPort: host.port,
          },
        },
      },
    });
    await server.admin('Tenants/CreateTenant', {
      tenant: { name: 'shop', description: 'the shop', dnsSuffixes: ['shop.test'] },
    });
    const made = await server.admin('Acme/CreateEabKey', {
      tenant: 'shop',
      dnsPatterns: ['*.shop.test'],
      ipRanges: [`${host.address}/32`],
      profiles: ['short'],
    });
    eab = { id: made.key?.id as string, mac: made.macKey as Buffer };
  });

  after(async () => {
    await server[Symbol.asyncDispose]();
    dns.close();
    await host[Symbol.asyncDispose]();
  });

  const post = (url: string, payload?: object) => wire.post(url, payload, { key, kid });
  const newAccount = (mac: Buffer, accountKey = key) => {
    const url = `${wire.base}/new-account`;
    const externalAccountBinding = binding({ id: eab.id, mac }, { url, jwk: accountKey.jwk });
    return wire.post(url, { externalAccountBinding }, { key: accountKey });
  };

  test('its directory has the URLs by the public base URL', async () => {
    const { status, json, headers } = await wire.ask('GET', `${wire.base}/directory`);
    assert.equal(status, 200);
    assert.equal(json['newOrder'], `${wire.base}/new-order`);
    assert.equal(json['renewalInfo'], `${wire.base}/renewal-info`);
    assert.equal((json['meta'] as Record<string, unknown>)['externalAccountRequired'], true);
    assert.equal(headers.link, undefined);
  });

  test('an account needs the MAC of an EAB key that the token derives', async () => {
    const wrong = await newAccount(Buffer.alloc(32, 1));
    assert.deepEqual([wrong.status, wrong.problem], [403, 'unauthorized']);
    const made = await newAccount(eab.mac);
    assert.equal(made.status, 201, made.text);
    kid = String(made.headers.location);
    assert.equal((await newAccount(eab.mac)).status, 200);
  });

  test('a name and an address are validated, and their certificate is downloaded', async () => {
    const identifiers = [
      { type: 'dns', value: name },
      { type: 'ip', value: host.address },
    ];
    const made = await post(`${wire.base}/new-order`, { identifiers });
    assert.equal(made.status, 201, made.text);
    orderUrl = String(made.headers.location);
    const thumbprint = await calculateJwkThumbprint(key.jwk as JWK);
    for (const url of made.json['authorizations'] as readonly string[]) {
      const { json } = await post(url);
      const challenges = json['challenges'] as readonly Readonly<Record<string, string>>[];
      const http01 = challenges.find(({ type }) => type === 'http-01');
      const { token = '', url: challengeUrl = '' } = http01 ?? {};
      host.shown.set(token, `${token}.${thumbprint}`);
      const answer = await post(challengeUrl, {});
      assert.equal(answer.json['url'], challengeUrl);
      assert.ok([answer.headers.link].flat().join().includes(`<${url}>;rel="up"`));
    }
    await until(async () => (await post(orderUrl)).json['status'] === 'ready');

    const certificateKey = newKey();
    const csr = { dnsSans: [name], ips: [host.address], commonName: name };
    const finalized = await post(`${orderUrl}/finalize`, {
      csr: base64url(statedCsr(certificateKey, csr)),
    });
    assert.deepEqual([finalized.status, finalized.headers.location], [200, orderUrl]);
    await until(async () => (await post(orderUrl)).json['status'] === 'valid');
    const { json } = await post(orderUrl);
    const { headers, text } = await post(String(json['certificate']));
    assert.equal(headers['content-type'], 'application/pem-certificate-chain');
    const [leaf, issuer] = unwrap(certificatesFromPem(text)) as [Buffer, Buffer];
    assert.ok(new X509Certificate(leaf).checkIssued(new X509Certificate(issuer)));
    const parsed = unwrap(parseCertificate(leaf));
    assert.deepEqual([parsed.dnsSans, parsed.ipSans], [[name], [host.address]]);
    const certificate = await server.admin('Certificates/GetCertificate', {
      serial: parsed.serialHex,
    });
    assert.equal(certificate.holder, `acme:${kid.split('/').at(-1)}`);
    assert.equal(certificate.requestId, orderUrl.split('/').at(-1));
  });

  test('nonces, accounts and EAB keys hold over a restart, and a nonce is used once', async () => {
    const url = `${wire.base}/account/${kid.split('/').at(-1)}`;
    const [used, unused] = [await wire.nonce(), await wire.nonce()];
    const request = (nonce: string, payload?: object) =>
      wire.send(url, jws({ alg: key.alg, nonce, url, kid }, payload, key));
    assert.equal((await request(used, { contact: ['mailto:ops@shop.test'] })).status, 200);
    await server.restart();
    await until(async () => (await wire.ask('HEAD', `${wire.base}/new-nonce`)).status === 200);
    const replayed = await request(used, { contact: ['mailto:other@shop.test'] });
    assert.deepEqual([replayed.status, replayed.problem], [400, 'badNonce']);
    assert.match(String(replayed.json['detail']), /^JWS has an invalid anti-replay nonce/);
    const read = await request(unused);
    assert.deepEqual([read.status, read.json['contact']], [200, ['mailto:ops@shop.test']]);
    assert.equal((await newAccount(eab.mac, acmeKey())).status, 201);
    assert.equal((await post(orderUrl)).json['status'], 'valid');
  });

  /** Makes an account that shows nothing, orders the name, and finalizes. */
  async function ordered(csr: Buffer) {
    const made = await server.admin('Acme/CreateEabKey', {
      tenant: 'shop',
      dnsPatterns: ['*.shop.test'],
      profiles: ['short'],
      proof: 'owner',
    });
    const [url, owner] = [`${wire.base}/new-account`, acmeKey()];
    const externalAccountBinding = binding(
      { id: made.key?.id as string, mac: made.macKey as Buffer },
      { url, jwk: owner.jwk },
    );
    const account = await wire.post(url, { externalAccountBinding }, { key: owner });
    const by = { key: owner, kid: String(account.headers.location) };
    const identifiers = [{ type: 'dns', value: name }];
    const order = await wire.post(`${wire.base}/new-order`, { identifiers }, by);
    assert.equal(order.json['status'], 'ready', order.text);
    const place = String(order.headers.location);
    await wire.post(`${place}/finalize`, { csr: base64url(csr) }, by);
    const read = () => wire.post(place, undefined, by);
    await until(async () => (await read()).json['status'] !== 'processing');
    return { place, json: (await read()).json };
  }

  test('a CSR that its key has not signed gives no certificate, and the client learns why', async () => {
    const csr = statedCsr(newKey(), { dnsSans: [name] });
    csr[csr.length - 1] = (csr.at(-1) as number) ^ 1;
    const { json } = await ordered(csr);
    assert.deepEqual([json['status'], json['certificate']], ['invalid', undefined]);
    const { type } = json['error'] as { readonly type: string };
    assert.equal(type, 'urn:ietf:params:acme:error:badCSR');
  });

  test('a name that its tenant owns is issued as its CAA records allow, without a challenge too', async () => {
    dns.zone.set('shop.test CAA', [dnsCaa('issue', 'other.test')]);
    const refused = await ordered(statedCsr(newKey(), { dnsSans: [name] }));
    assert.deepEqual([refused.json['status'], refused.json['certificate']], ['invalid', undefined]);
    const { type, detail } = refused.json['error'] as Readonly<Record<string, string>>;
    assert.equal(type, 'urn:ietf:params:acme:error:caa');
    assert.match(
      detail ?? '',
      /^the CAA records of shop\.test forbid to issue for www\.shop\.test/,
    );
    const id = refused.place.split('/').at(-1) as string;
    const { records } = await server.admin('Audit/ListAuditRecords', { subject: id });
    assert.ok(records.some(({ canonical }) => canonical.includes('ACME_CAA_REFUSED')));
    dns.zone.set('shop.test CAA', [dnsCaa('issue', 'ca.test; validationmethods=ca-owner')]);
    const issued = await ordered(statedCsr(newKey(), { dnsSans: [name] }));
    assert.equal(issued.json['status'], 'valid');
    const again = await server.admin('Acme/GetOrder', {
      id: issued.place.split('/').at(-1) as string,
    });
    assert.ok((again.authorizations[0]?.caaAt ?? 0) > 0);
    dns.zone.delete('shop.test CAA');
  });

  test('its account revokes a certificate, which then is to be renewed at once', async () => {
    const { json } = await post(orderUrl);
    const { text } = await post(String(json['certificate']));
    const [der] = unwrap(certificatesFromPem(text)) as [Buffer];
    const info = `${wire.base}/renewal-info/${certificateIdOf(der)}`;
    const endOf = async (): Promise<number> => {
      const { suggestedWindow } = (await wire.ask('GET', info)).json;
      return Date.parse((suggestedWindow as { readonly end: string }).end);
    };
    assert.ok((await endOf()) > Date.now());
    const revoke = { certificate: base64url(der), reason: 4 };
    assert.equal((await post(`${wire.base}/revoke-cert`, revoke)).status, 200);
    assert.equal((await post(`${wire.base}/revoke-cert`, revoke)).problem, 'alreadyRevoked');
    assert.ok((await endOf()) < Date.now());
  });

  test('the records of an order say who ordered which names, and what became of it', async () => {
    const id = orderUrl.split('/').at(-1) as string;
    const { records } = await server.admin('Audit/ListAuditRecords', { subject: id });
    const kinds = records.map(({ kind }) => kind);
    assert.ok(kinds.includes('acme.order.created'), kinds.join());
    assert.ok(kinds.filter((kind) => kind === 'acme.order.changed').length >= 4, kinds.join());
  });

  test('what the listener refuses is a problem document with a nonce', async () => {
    const missing = await wire.ask('GET', `${wire.base}/nothing`);
    const method = await wire.ask('GET', `${wire.base}/new-order`);
    const large = await wire.send(`${wire.base}/new-order`, 'x'.repeat(70_000));
    for (const [reply, status] of [
      [missing, 404],
      [method, 405],
      [large, 413],
    ] as const) {
      assert.equal(reply.status, status);
      assert.equal(reply.problem, 'malformed');
      assert.equal(reply.json['status'], status);
      assert.notEqual(reply.headers['replay-nonce'], undefined);
    }
  });
});

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { dns01Value, validateDns01 } from '../../../../src/common/validation/dns-01.ts';
import { AcmeResolver } from '../../../../src/common/validation/resolver.ts';
import { dnsCaa, dnsIpv4, dnsName, DnsServer, dnsText } from '../../../support/dns-server.ts';

let recursive: DnsServer;
let first: DnsServer;
let second: DnsServer;
const keyAuthorization = 'token.thumbprint';
const digest = dns01Value(keyAuthorization);
const signal = (): AbortSignal => AbortSignal.timeout(20_000);

function resolver(tries = 2): AcmeResolver {
  const endpoints = new Map([
    ['10.0.0.1', first.endpoint],
    ['10.0.0.2', second.endpoint],
  ]);
  return new AcmeResolver({
    servers: [recursive.endpoint],
    timeoutMs: 500,
    tries,
    authoritative: (address) => endpoints.get(address),
    isForbidden: (address) => address.startsWith('10.9.'),
  });
}
const validate = (name = 'app.example') =>
  validateDns01({ name, keyAuthorization }, { resolver: resolver() }, signal());

before(async () => {
  [recursive, first, second] = await Promise.all([
    DnsServer.open(),
    DnsServer.open(),
    DnsServer.open(),
  ]);
});
after(() => {
  for (const server of [recursive, first, second]) server.close();
});
beforeEach(() => {
  for (const { zone } of [recursive, first, second]) zone.clear();
  recursive.zone.set('example NS', [dnsName('ns1.example'), dnsName('ns2.example')]);
  recursive.zone.set('ns1.example A', [dnsIpv4('10.0.0.1')]);
  recursive.zone.set('ns2.example A', [dnsIpv4('10.0.0.2')]);
});

describe('dns-01', () => {
  const at = '_acme-challenge.app.example TXT';

  it('is valid where every name server has the digest, beside others and in parts', async () => {
    first.zone.set(at, [dnsText('other'), dnsText(digest)]);
    second.zone.set(at, [dnsText(digest.slice(0, 20), digest.slice(20))]);
    const judged = await validate();
    assert.ok(judged.ok, JSON.stringify(judged));
    assert.deepEqual([...judged.value.seenAt].sort(), ['ns1.example', 'ns2.example']);
  });

  it('is invalid while one name server lacks it', async () => {
    first.zone.set(at, [dnsText(digest)]);
    const judged = await validate();
    assert.ok(!judged.ok && judged.failure.type === 'unauthorized');
    assert.match(judged.failure.detail, /no TXT record at ns2\.example/);
  });

  it('is invalid with another text, of which the detail says nothing', async () => {
    for (const { zone } of [first, second]) zone.set(at, [dnsText('secret')]);
    const judged = await validate();
    assert.ok(!judged.ok && judged.failure.type === 'unauthorized');
    assert.doesNotMatch(judged.failure.detail, /secret/);
  });

  it('believes no recursive server for the record itself', async () => {
    recursive.zone.set(at, [dnsText(digest)]);
    assert.equal((await validate()).ok, false);
  });

  it('follows an alias to another zone', async () => {
    recursive.zone.set('_acme-challenge.app.example CNAME', [dnsName('x.challenges.test')]);
    recursive.zone.set('challenges.test NS', [dnsName('ns1.example')]);
    first.zone.set('x.challenges.test TXT', [dnsText(digest)]);
    const judged = await validate();
    assert.deepEqual(judged, { ok: true, value: { seenAt: ['ns1.example'] } });
  });

  it('ends aliases that go round', async () => {
    recursive.zone.set('_acme-challenge.app.example CNAME', [
      dnsName('_acme-challenge.app.example'),
    ]);
    const judged = await validate();
    assert.ok(!judged.ok && judged.failure.type === 'dns');
  });

  for (const failure of ['SERVFAIL', 'REFUSED', 'SILENT'] as const)
    it(`is a problem of DNS where a name server answers with ${failure}`, async () => {
      first.zone.set(at, [dnsText(digest)]);
      second.zone.set(at, failure);
      const judged = await validate();
      assert.ok(!judged.ok && judged.failure.type === 'dns', JSON.stringify(judged));
      assert.match(judged.failure.detail, /ns2\.example/);
    });

  it('asks no name server whose address is not allowed', async () => {
    recursive.zone.set('ns2.example A', [dnsIpv4('127.0.0.1')]);
    first.zone.set(at, [dnsText(digest)]);
    const judged = await validate();
    assert.ok(!judged.ok && judged.failure.type === 'dns');
    assert.match(judged.failure.detail, /ns2\.example .*no address to ask/);
    assert.equal(judged.failure.forbiddenHere, undefined);
    recursive.zone.set('ns2.example A', [dnsIpv4('10.9.0.1')]);
    const forbidden = await validate();
    assert.ok(!forbidden.ok && forbidden.failure.forbiddenHere === true);
  });
});

describe('the resolver of validations', () => {
  it('finds addresses of both families, IPv6 first', async () => {
    recursive.zone.set('app.example A', [dnsIpv4('10.1.2.3')]);
    recursive.zone.set('app.example AAAA', [
      Buffer.from('fd120000000000000000000000000007', 'hex'),
    ]);
    assert.deepEqual(await resolver().addressesOf('app.example', signal()), {
      ok: true,
      value: ['fd12::7', '10.1.2.3'],
    });
  });

  it('fails where one family can not be asked: the other might be allowed, and this one not', async () => {
    recursive.zone.set('app.example A', [dnsIpv4('10.1.2.3')]);
    recursive.zone.set('app.example AAAA', 'SERVFAIL');
    const judged = await resolver().addressesOf('app.example', signal());
    assert.ok(!judged.ok && judged.failure.type === 'dns');
  });

  it('reads CAA properties with their flags', async () => {
    recursive.zone.set('example CAA', [
      dnsCaa('issue', 'ca.test; accounturi=x'),
      dnsCaa('tbs', 'unknown', 128),
    ]);
    assert.deepEqual(await resolver().propertiesAt('example', signal()), {
      ok: true,
      value: [
        { critical: false, tag: 'issue', value: 'ca.test; accounturi=x' },
        { critical: true, tag: 'tbs', value: 'unknown' },
      ],
    });
    assert.deepEqual(await resolver().propertiesAt('app.example', signal()), {
      ok: true,
      value: [],
    });
  });

  it('ends with its signal', async () => {
    recursive.zone.set('app.example A', 'SILENT');
    const controller = new AbortController();
    const asked = resolver(100).addressesOf('app.example', controller.signal);
    controller.abort();
    const judged = await asked;
    assert.ok(!judged.ok && judged.failure.type === 'dns');
  });
});

import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { JsonWebKey } from 'node:crypto';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { pemEncode } from '../../../../src/common/x509/index.ts';
import { readCanonical, type Tenant } from '../../../../src/domain/index.ts';
import { tokensSchema, tokenVerifier } from '../../../../src/services/tokens/index.ts';
import { createAcmeWorld, type AcmeWorld } from '../../../support/acme/world.ts';
import { base64url } from '../../../support/acme/wire.ts';
import { statedCsr } from '../../../support/csr.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  selector,
} from '../../../support/services-world.ts';
import {
  startTokenIssuer,
  tokenAudience,
  type TokenIssuer,
} from '../../../support/token-issuer.ts';

const parentId = id('/meshca/token-issuer/ci');
const project = { project_path: 'shop/web', ref: 'refs/heads/main' };
const peer = { class: 'anonymous', peer: '192.0.2.7:1' } as const;

const entry = {
  ...{ parentId, spiffeId: id('/shop/ci') },
  selectors: [selector('oidc:project_path:shop/web'), selector('oidc:ref:refs/heads/main')],
};
const delegation = {
  ...{ clientId: entry.spiffeId, patterns: [], dnsPatterns: ['*.shop.test'], ipRanges: [] },
  ...{ maxTtlSeconds: 3600, keyTypes: ['ec-p256'], wildcards: false, profile: 'short' },
  expiresAt: 0,
};

describe('a job exchanges the token of its platform for an EAB key', () => {
  let issuer: TokenIssuer;
  let world: AcmeWorld;
  let delegationId: string;
  let entryId: string;
  const issuers = ['ci', 'builds'].map((name) => ({
    ...{ name, type: 'oidc', audiences: [tokenAudience] },
    purposes: [name === 'ci' ? 'acme' : 'pipeline'],
  }));

  const verifierOf = (clock: () => Pick<AcmeWorld['services']['clock'], 'now' | 'monotonicMs'>) =>
    tokenVerifier(
      tokensSchema.parse({
        issuers: issuers.map((each) => ({
          ...each,
          issuer: each.name === 'ci' ? issuer.url : `${issuer.url}/builds`,
          caFile: 'ca.pem',
        })),
      }),
      {
        clock: { now: () => clock().now(), monotonicMs: () => clock().monotonicMs() },
        logger: silentLogger,
        readFile: () => issuer.caPem,
      },
    );
  before(async () => {
    issuer = await startTokenIssuer();
    world = await createAcmeWorld(
      {},
      undefined,
      verifierOf(() => world?.services.clock ?? systemClock),
    );
    issuer.now = () => world.services.clock.now();
    const { services, store, clock, tenantOwners } = world.services;
    const tenant = (await store.tenants.byName('shop')) as Tenant;
    await store.tenants.update(
      { ...tenant, spiffePrefixes: [id('/shop/')], version: tenant.version + 1 },
      {
        ...{ timeMs: clock.nowMs(), actor: 'uid:0', detail: {} },
        ...{ kind: 'tenant.updated', subject: 'shop' },
      },
    );
    await tenantOwners.refresh();
    entryId = await world.services.addEntry(entry);
    ({ id: delegationId } = await services.delegations.create(local, delegation));
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await issuer?.[Symbol.asyncDispose]();
  });

  const jobToken = (claims: object = {}) => issuer.token({ ...project, ...claims });
  const post = async (
    body: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly status: number; readonly json: Record<string, string> }> => {
    const answer = await fetch(world.url('exchange'), {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body,
    });
    return { status: answer.status, json: (await answer.json()) as Record<string, string> };
  };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  /** As `curl -H "Authorization: Bearer …" -d name=…` sends it. */
  const exchange = (token: string, body = 'name=www.shop.test') => post(body, bearer(token));
  const codeOf = async (token: string, body?: string): Promise<string> => {
    const { status, json } = await exchange(token, body);
    return status === 200 ? 'ok' : (json['code'] ?? String(json['detail']));
  };
  const accountOf = async (token: string) => {
    const { json } = await exchange(token);
    const { kid = '', hmacKey = '' } = json;
    const eab = { id: kid, mac: Buffer.from(hmacKey, 'base64url') };
    return { kid, account: () => world.account({ eab }) };
  };
  const records = async (kind: string) =>
    (await world.services.audit(kind)).map(({ canonical }) => readCanonical(canonical));

  test('its names get a certificate by that key, and the record says who asked', async () => {
    const token = await jobToken({ jti: 'job-1' });
    const { status, json } = await exchange(token);
    assert.equal(status, 200, JSON.stringify(json));
    assert.deepEqual(
      [json['directory'], json['tenant'], Date.parse(json['expires'] ?? '')],
      ['', 'shop', (world.services.clock.now() + 600) * 1000],
    );
    const eab = { id: json['kid'] ?? '', mac: Buffer.from(json['hmacKey'] ?? '', 'base64url') };
    const account = await world.account({ eab });
    const { serial } = await account.certificate();
    const issued = (await records('certificate.issued')).find(
      (record) => record?.detail['serial'] === serial,
    );
    const { tenant, eabKey, exchangedBy, exchangedDelegation, tokenIssuer } = issued?.detail ?? {};
    assert.deepEqual(
      [tenant, eabKey, exchangedBy, exchangedDelegation, tokenIssuer],
      ['shop', eab.id, entry.spiffeId, delegationId, 'ci'],
      'what policies decide by',
    );
    await assert.rejects(world.account({ eab }), /no account: 403/, 'the key is for one account');
    const key = await world.services.store.acme.eabKeys.byId(eab.id);
    assert.deepEqual(
      [key?.proof, key?.accounts, key?.dnsPatterns, key?.createdBy],
      ['owner', 'single', ['www.shop.test'], parentId],
    );
    const made = JSON.stringify((await records('eab-key.created')).at(-1));
    for (const text of [
      ...[eab.id, delegationId, entryId, 'repo:example/app:ref:refs/heads/main', '"issuer":"ci"'],
      ...['oidc:project_path:shop/web', 'oidc:ref:refs/heads/main', entry.spiffeId],
    ])
      assert.ok(made.includes(text), `${text} in ${made}`);
    const used = JSON.stringify((await records('identity-token.exchanged')).at(-1));
    assert.ok(used.includes(eab.id) && used.includes('job-1'), used);
    const log = JSON.stringify(await world.services.audit(undefined));
    const signature = token.split('.')[2] as string;
    assert.ok(!log.includes(json['hmacKey'] as string) && !log.includes(signature));
    const scraped = await world.metrics.registry.metrics();
    assert.match(scraped, /acme_requests_total\{resource="exchange",result="ok"\} 1/);
  });

  test('the request is a form or JSON, with one token', async () => {
    const token = await jobToken();
    const json = { 'content-type': 'application/json' };
    const refused: readonly (readonly [string, Readonly<Record<string, string>>, number])[] = [
      ['name=www.shop.test', {}, 401],
      [`name=www.shop.test&token=${token}`, bearer(token), 400],
      ['name=www.shop.test', { authorization: `Basic ${token}` }, 400],
      ['name=www.shop.test', { ...bearer(token), 'content-type': 'text/plain' }, 415],
      ['name=www.shop.test&names=other.shop.test', bearer(token), 400],
      ['name=www.shop.test&profile=short&profile=hours', bearer(token), 400],
      ['name=www.shop.test&__proto__=1', bearer(token), 400],
      ['name=www.shop.test&admin=1', bearer(token), 400],
      ['{"names":["www.shop.test"],"admin":true}', { ...bearer(token), ...json }, 400],
      ['{"names":"www.shop.test"}', { ...bearer(token), ...json }, 400],
      ['{', { ...bearer(token), ...json }, 400],
      ['', bearer(token), 400],
      [`name=${'a'.repeat(40_000)}`, bearer(token), 413],
    ];
    for (const [body, headers, status] of refused)
      assert.equal((await post(body, headers)).status, status, body.slice(0, 60));
    assert.equal((await fetch(world.url('exchange'))).status, 405);
    // nothing of that has used the token up
    const made = await post(JSON.stringify({ token, names: ['www.shop.test'] }), json);
    assert.equal(made.status, 200, JSON.stringify(made.json));
  });

  test('forged and unfit tokens are refused, and nothing is made of them', async () => {
    const { keys } = issuer;
    const [first] = keys as [(typeof keys)[0]];
    const now = world.services.clock.now();
    const parts = (await jobToken()).split('.') as [string, string, string];
    const unsigned = (header: object) => [base64url(JSON.stringify(header)), parts[1]].join('.');
    const pem = createPublicKey({ key: first.jwk as JsonWebKey, format: 'jwk' }).export({
      type: 'spki',
      format: 'der',
    });
    const confused = (secret: string | Buffer): string => {
      const text = unsigned({ alg: 'HS256', typ: 'JWT', kid: first.kid });
      return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
    };
    const stranger = await issuer.newKey('RS256', first.kid);
    const large = await jobToken({ pad: 'x'.repeat(17_000) });
    const attacks: readonly (readonly [string, string, string])[] = [
      ['alg none', `${unsigned({ alg: 'none' })}.AA`, 'TOKEN_ALGORITHM_NOT_ALLOWED'],
      ['alg none, no signature', `${unsigned({ alg: 'none' })}.`, 'TOKEN_MALFORMED'],
      [
        'HS256 with the public key',
        confused(pemEncode('PUBLIC KEY', pem)),
        'TOKEN_ALGORITHM_NOT_ALLOWED',
      ],
      ['HS256 with its DER', confused(pem), 'TOKEN_ALGORITHM_NOT_ALLOWED'],
      [
        'altered claims',
        `${parts[0]}.${base64url('{"iss":"x"}')}.${parts[2]}`,
        'TOKEN_ISSUER_UNKNOWN',
      ],
      [
        'another key under the kid',
        await issuer.token(project, { key: stranger }),
        'TOKEN_SIGNATURE_INVALID',
      ],
      [
        'an unknown kid',
        await issuer.token(project, { key: await issuer.newKey() }),
        'TOKEN_KEY_UNKNOWN',
      ],
      ['another audience', await jobToken({ aud: 'vault' }), 'TOKEN_AUDIENCE_WRONG'],
      ['no audience', await jobToken({ aud: undefined }), 'TOKEN_MALFORMED'],
      ['ended', await jobToken({ iat: now - 600, exp: now - 60 }), 'TOKEN_EXPIRED'],
      ['not yet valid', await jobToken({ nbf: now + 120 }), 'TOKEN_NOT_YET_VALID'],
      ['without an end', await jobToken({ exp: undefined }), 'TOKEN_LIFE_TOO_LONG'],
      ['too long a life', await jobToken({ exp: now + 2 * 86_400 }), 'TOKEN_LIFE_TOO_LONG'],
      ['an unknown issuer', await jobToken({ iss: 'https://evil.test' }), 'TOKEN_ISSUER_UNKNOWN'],
      [
        'an issuer without the purpose acme',
        await jobToken({ iss: `${issuer.url}/builds` }),
        'TOKEN_ISSUER_UNKNOWN',
      ],
      ['another project', await jobToken({ project_path: 'shop/web2' }), 'ENTRY_NOT_AUTHORIZED'],
      ['another case', await jobToken({ project_path: 'Shop/web' }), 'ENTRY_NOT_AUTHORIZED'],
      ['another branch', await jobToken({ ref: 'refs/heads/main2' }), 'ENTRY_NOT_AUTHORIZED'],
      ['a claim less', await jobToken({ ref: undefined }), 'ENTRY_NOT_AUTHORIZED'],
      ['a nested claim', await jobToken({ ref: { value: project.ref } }), 'ENTRY_NOT_AUTHORIZED'],
      ['too large', large, 'REQUEST_TOO_LARGE'],
    ];
    const keysBefore = (await records('eab-key.created')).length;
    for (const [what, token, code] of attacks) assert.equal(await codeOf(token), code, what);
    const { json } = await post(
      new URLSearchParams({ token: large, name: 'a.shop.test' }).toString(),
    );
    assert.equal(json['code'], 'TOKEN_MALFORMED');
    assert.equal((await records('eab-key.created')).length, keysBefore);
  });

  test('names are those of one delegation and of the tenant of the identity', async () => {
    const ask = async (body: string) => codeOf(await jobToken(), body);
    assert.equal(await ask('name=www.other.test'), 'OUTSIDE_DELEGATION');
    assert.equal(await ask('name=a.b.shop.test'), 'OUTSIDE_DELEGATION');
    assert.equal(await ask('name=*.shop.test'), 'OUTSIDE_DELEGATION');
    assert.equal(await ask('name=www.shop.test&ip=10.0.0.1'), 'OUTSIDE_DELEGATION');
    assert.equal(await ask('name=www.shop.test&profile=hours'), 'OUTSIDE_DELEGATION');
    assert.equal(
      await ask(`name=www.shop.test&spiffeId=${encodeURIComponent(id('/shop/admin'))}`),
      'ENTRY_NOT_AUTHORIZED',
    );
    assert.equal(await ask('name=a.shop.test&name=b.shop.test&profile=short'), 'ok');
  });

  test('a refusal leaves a token unused; an exchange uses it up for every purpose', async () => {
    const token = await jobToken();
    assert.equal(await codeOf(token, 'name=www.other.test'), 'OUTSIDE_DELEGATION');
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => codeOf(token)));
    assert.deepEqual(outcomes.toSorted(), [...Array(5).fill('TOKEN_REPLAYED'), 'ok'].toSorted());
    const { usedAt } = await world.services.services.pipelines.explain(peer, token);
    assert.equal(usedAt, world.services.clock.now());
    // the same token with another signature is the same token
    assert.equal(await codeOf(await jobToken({ jti: 'same' })), 'ok');
    assert.equal(await codeOf(await jobToken({ jti: 'same', nbf: 1 })), 'TOKEN_REPLAYED');
    const [refusal] = (await records('request.refused')).slice(-1);
    assert.ok(JSON.stringify(refusal).includes('TOKEN_REPLAYED'), JSON.stringify(refusal));
  });

  test('the delegation, the entry or the issuer is withdrawn: the key, its account and order end', async () => {
    const { services, addEntry } = world.services;
    const csr = base64url(statedCsr(newKey(), { dnsSans: ['www.shop.test'] }));
    const began = async () => {
      const unbound = await accountOf(await jobToken());
      const { account } = await accountOf(await jobToken());
      const holder = await account();
      return { unbound, holder, orderUrl: await holder.order() };
    };
    const assertEnded = async ({
      unbound,
      holder,
      orderUrl,
    }: Awaited<ReturnType<typeof began>>) => {
      await assert.rejects(unbound.account(), /no account: 403/);
      await assert.rejects(holder.order(), /no order: 403/);
      const finalized = await holder.post(`${orderUrl}/finalize`, { csr });
      assert.equal(finalized.status, 403, finalized.text);
      assert.equal(finalized.json['code'], 'EAB_KEY_ENDED');
      const shown = await services.eabKeys.get(local, unbound.kid);
      assert.match(String((await services.eabKeys.ends([shown]))[0]), /ended with its source/);
    };
    const first = await began();
    await services.entries.delete(local, [entryId]);
    await assertEnded(first);
    assert.equal(await codeOf(await jobToken()), 'ENTRY_NOT_AUTHORIZED');
    entryId = await addEntry(entry);
    const second = await began();
    await services.delegations.revoke(local, delegationId, '');
    await assertEnded(second);
    assert.equal(await codeOf(await jobToken()), 'OUTSIDE_DELEGATION');
    ({ id: delegationId } = await services.delegations.create(local, delegation));
    const third = await began();
    const [own] = issuers as [(typeof issuers)[0]];
    assert.ok(third.holder && own);
    world.services.verifier.isIssuer = () => false;
    await world.restart();
    await assert.rejects(third.unbound.account(), /no account: 403/);
    await assert.rejects(third.holder.order(), /no order: 403/);
    const finalized = await third.holder.post(`${third.orderUrl}/finalize`, { csr });
    assert.equal(finalized.status, 403, finalized.text);
    const shown = await services.eabKeys.get(local, third.unbound.kid);
    assert.match(String((await services.eabKeys.ends([shown]))[0]), /ended with its token issuer/);
  });

  test('a token of an ended tenant leads to nothing', async () => {
    await world.endTenant();
    assert.equal(await codeOf(await jobToken()), 'TENANT_ENDED');
  });

  test('a replay is refused after a restart, and by what took over the database', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'meshca-exchange-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const remains = { path: join(folder, 'meshca.db'), keys: new Map() };
    const open = () =>
      createServicesWorld({}, remains, { verifier: verifierOf(() => systemClock) });
    const token = await issuer.token(project, { now: systemClock.now() });
    const ask = { token, dnsNames: ['www.shop.test'], ips: [], profile: '', spiffeId: '' };
    {
      await using w = await open();
      await w.services.tenants.create(
        local,
        {
          ...{ name: 'shop', description: '', dnsSuffixes: ['shop.test'] },
          ...{ spiffePrefixes: [id('/shop/')], quotaCertificates: 0, quotaSeconds: 0 },
        },
        { dryRun: false },
      );
      await w.addEntry(entry);
      await w.services.delegations.create(local, delegation);
      await w.services.eabExchange.exchangeToken(peer, ask);
    }
    await using w = await open();
    await assert.rejects(
      w.services.eabExchange.exchangeToken(peer, ask),
      (thrown) => thrown instanceof PkiError && thrown.code === 'TOKEN_REPLAYED',
    );
    assert.equal((await w.audit('eab-key.created')).length, 1);
  });
});

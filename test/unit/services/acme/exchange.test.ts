import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fail, PkiError } from '../../../../src/common/errors/index.ts';
import { checkNames, uncoveredName } from '../../../../src/domain/index.ts';
import { account } from '../../../compliance/store/acme-fixtures.ts';
import type { DelegateCaller } from '../../../../src/services/index.ts';
import type { TokenVerifier } from '../../../../src/services/tokens/index.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const codeOf = async (act: Promise<unknown>): Promise<string> => {
  try {
    await act;
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};

async function world() {
  const w = await createServicesWorld();
  await addTenants(w);
  return w;
}

async function addTenants(w: ServicesWorld): Promise<void> {
  for (const name of ['shop', 'other'])
    await w.services.tenants.create(
      local,
      {
        ...{
          name,
          description: '',
          dnsSuffixes: [`${name}.test`],
          spiffePrefixes: [id(`/${name}/`)],
        },
        ...{ quotaCertificates: 0, quotaSeconds: 0 },
      },
      { dryRun: false },
    );
}

async function delegateOf(w: ServicesWorld, path: string, more: object = {}) {
  const delegation = await w.services.delegations.create(local, {
    ...{ clientId: id(path), patterns: [], dnsPatterns: ['*.shop.test'], ipRanges: [] },
    ...{ maxTtlSeconds: 3600, keyTypes: ['ec-p256'], wildcards: false, profile: 'short' },
    expiresAt: 0,
    ...more,
  });
  return { delegation, caller: (await w.mint(path, false)) as DelegateCaller };
}
const ask = (...dnsNames: string[]) => ({ dnsNames, ips: [], profile: '' });

test('a delegate gets an EAB key for one account and minutes, for the names that it asks for', async () => {
  await using w = await world();
  const { caller, delegation } = await delegateOf(w, '/shop/ci');
  const { key, macKey } = await w.services.eabExchange.exchange(caller, ask('www.shop.test'));
  const { dnsPatterns, ipRanges, wildcards, profiles, ttlSeconds, keyTypes } = key;
  assert.deepEqual(
    { dnsPatterns, ipRanges, wildcards, profiles, ttlSeconds, keyTypes },
    {
      ...{ dnsPatterns: ['www.shop.test'], ipRanges: [], wildcards: false },
      ...{ profiles: ['short'], ttlSeconds: 3600, keyTypes: ['ec-p256'] },
    },
  );
  assert.deepEqual(
    [key.tenant, key.proof, key.accounts, key.expiresAt, key.createdBy],
    ['shop', 'owner', 'single', w.clock.now() + 600, caller.spiffeId],
  );
  assert.deepEqual((await w.services.eabKeys.secret(local, key.id)).macKey, macKey);
  const [record] = await w.audit('eab-key.created');
  const text = record?.canonical.toString('utf8') ?? '';
  assert.ok(text.includes(delegation.id) && text.includes(caller.serial));
  assert.ok(!text.includes(macKey.toString('base64url')) && !text.includes(macKey.toString('hex')));
});

test('the key never grants more than the delegation, nor longer', async () => {
  await using w = await world();
  const { eabExchange } = w.services;
  const ends = w.clock.now() + 120;
  const { caller, delegation } = await delegateOf(w, '/shop/ci', {
    ...{ dnsPatterns: ['*.shop.test', 'api.shop.test'], expiresAt: ends },
  });
  const code = (...names: string[]) => codeOf(eabExchange.exchange(caller, ask(...names)));
  assert.equal(await code('www.shop.test', 'a.b.shop.test'), 'OUTSIDE_DELEGATION');
  assert.equal(await code('*.shop.test'), 'OUTSIDE_DELEGATION', 'a wildcard needs its own grant');
  assert.equal(await code('www.other.test'), 'OUTSIDE_DELEGATION');
  assert.equal(await code('a..shop.test'), 'DNS_NAME_INVALID');
  assert.equal(await code(), 'INVALID_REQUEST');
  assert.equal(
    await codeOf(eabExchange.exchange(caller, { ...ask('www.shop.test'), ips: ['192.0.2.1'] })),
    'OUTSIDE_DELEGATION',
  );
  assert.equal(
    await codeOf(eabExchange.exchange(caller, { ...ask('www.shop.test'), profile: 'hours' })),
    'OUTSIDE_DELEGATION',
  );
  const { key } = await eabExchange.exchange(caller, ask('www.shop.test'));
  assert.equal(key.expiresAt, ends);
  await w.services.delegations.revoke(local, delegation.id, '');
  assert.equal(await code('www.shop.test'), 'CALLER_NOT_ADMITTED');
});

test('a key ends at once with the delegation, the certificate, or its key', async () => {
  await using w = await world();
  const { delegations, eabExchange, keys, revocations } = w.services;
  const ends: readonly ((made: Awaited<ReturnType<typeof delegateOf>>) => Promise<unknown>)[] = [
    ({ delegation }) => delegations.revoke(local, delegation.id, ''),
    ({ caller }) => revocations.revoke(local, { serial: caller.serial, reason: 'superseded' }),
    ({ caller }) => keys.block(local, { serial: caller.serial }, 'stolen'),
  ];
  for (const [index, end] of ends.entries()) {
    const made = await delegateOf(w, `/shop/ci-${index}`);
    const { key } = await eabExchange.exchange(made.caller, ask('www.shop.test'));
    const write = {
      rights: [{ kind: 'eab-key', id: key.id }] as const,
      event: { timeMs: 0, actor: 'test', kind: 'test', subject: 'test', detail: {} },
    };
    const create = () => codeOf(w.store.acme.accounts.create(account({ eabKeyId: key.id }), write));
    await end(made);
    assert.equal(await create(), 'EAB_KEY_ENDED', String(index));
  }
});

test('a wildcard that is exchanged covers nothing outside the delegation', async () => {
  await using w = await world();
  const { caller, delegation } = await delegateOf(w, '/shop/ci', { wildcards: true });
  const { key } = await w.services.eabExchange.exchange(caller, ask('*.shop.test'));
  assert.equal(key.wildcards, true);
  for (const name of [
    '*.shop.test',
    'a.shop.test',
    'shop.test',
    'a.b.shop.test',
    '*.b.shop.test',
  ]) {
    const names = checkNames({ dnsNames: [name], ips: [] }, []);
    const [ofKey, ofDelegation] = [uncoveredName(key, names), uncoveredName(delegation, names)];
    assert.equal(ofKey, ofDelegation, name);
  }
});

test('names of another tenant, or of none, and callers without a delegation get no key', async () => {
  await using w = await createServicesWorld();
  const { eabExchange } = w.services;
  const names = { dnsPatterns: ['*.shop.test', '*.free.test'] };
  const [other, none, shop] = [
    await delegateOf(w, '/other/ci', names),
    await delegateOf(w, '/ci', names),
    await delegateOf(w, '/shop/ci', names),
  ];
  // the delegations are older than the tenants
  await addTenants(w);
  assert.equal(
    await codeOf(eabExchange.exchange(other.caller, ask('www.shop.test'))),
    'NAME_OF_OTHER_TENANT',
  );
  assert.equal(
    await codeOf(eabExchange.exchange(none.caller, ask('www.shop.test'))),
    'NAME_OF_OTHER_TENANT',
  );
  assert.equal(
    await codeOf(eabExchange.exchange(none.caller, ask('www.free.test'))),
    'OUTSIDE_DELEGATION',
  );
  assert.equal(
    await codeOf(eabExchange.exchange(shop.caller, ask('www.free.test'))),
    'PATTERN_INVALID',
    'the name of nobody is not its tenant’s',
  );
  const workload = (await w.mint('/shop/web', false)) as DelegateCaller;
  assert.equal(
    await codeOf(eabExchange.exchange(workload, ask('www.shop.test'))),
    'CALLER_NOT_ADMITTED',
  );
  w.loseToken();
  assert.equal(
    await codeOf(eabExchange.exchange(shop.caller, ask('www.shop.test'))),
    'HSM_UNAVAILABLE',
  );
  assert.deepEqual(await w.audit('eab-key.created'), []);
});

test('tokens beyond the limit are refused before one is verified', async () => {
  let verified = 0;
  const verifier: TokenVerifier = {
    verify: () => {
      verified += 1;
      return Promise.resolve(fail('TOKEN_SIGNATURE_INVALID', 'the signature does not verify'));
    },
    isIssuer: () => true,
    standings: () => [],
  };
  await using w = await createServicesWorld(
    { attestationRate: { perSecond: 0.001, burst: 3 } },
    undefined,
    { verifier },
  );
  const exchange = () =>
    codeOf(
      w.services.eabExchange.exchangeToken(
        { class: 'anonymous', peer: '192.0.2.7:1' },
        { ...ask('www.shop.test'), token: 'a.b.c', spiffeId: '' },
      ),
    );
  const codes = await Promise.all(Array.from({ length: 8 }, exchange));
  assert.equal(verified, 3);
  assert.deepEqual(
    [codes.filter((code) => code === 'RATE_LIMITED').length, codes[0]],
    [5, 'TOKEN_SIGNATURE_INVALID'],
  );
  // strangers are counted, and make no record each
  assert.deepEqual(await w.audit('request.refused'), []);
});

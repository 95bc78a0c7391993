import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QuotaPlace } from '../../../../src/common/policy/index.ts';
import {
  failureCounter,
  placeText,
  takenPlacesIn,
  type OrderIdentifier,
  type Revocation,
} from '../../../../src/domain/index.ts';
import {
  AcmeLimits,
  type LimitName,
  type LimitSettings,
  type NewOrderAsk,
} from '../../../../src/services/acme/limits.ts';
import { AcmeRefusal, type AcmeProblem } from '../../../../src/services/acme/problem.ts';
import { FakeClock } from '../../../support/agent.ts';

const hour = 3_600;
const wide = { count: 1_000, seconds: 1_000 };
const settings: LimitSettings = {
  ordersPerAccount: wide,
  ordersPerNames: wide,
  ordersPerTenant: wide,
  failuresPerName: wide,
  ordersPerSecond: 1_000,
  accountsPerSecond: 1_000,
  anonymousPerSecond: 1_000,
  changesPerAccount: wide,
  badSignaturesPerSecond: 1_000,
};
/** A renewal of this certificate. */
const renewal = (serial: string) => ({ replaces: { serial, isRenewal: true } });
const dns = (value: string): OrderIdentifier => ({ type: 'dns', value });

function world(over: Partial<LimitSettings> = {}) {
  const clock = new FakeClock();
  const refused: LimitName[] = [];
  const ends = new Map<string, readonly number[]>();
  const due = new Set<string>();
  const replaced = new Set<string>();
  const revocations = new Map<string, Revocation>();
  const places = new Map<string, QuotaPlace>();
  const limits = new AcmeLimits({
    settings: { ...settings, ...over },
    quotas: { ends: (counter) => ends.get(counter) ?? [] },
    placeOfTenant: (name) => places.get(name),
    wasReplaced: (serial) => Promise.resolve(replaced.has(serial)),
    isDue: (serial) => Promise.resolve(due.has(serial)),
    revocations: { revocation: (serial) => revocations.get(serial) },
    clock,
    refused: (name) => void refused.push(name),
  });
  const order = (ask: Partial<NewOrderAsk> & { readonly id?: string; readonly tenant?: string }) =>
    problemOf(() =>
      limits.newOrder({
        account: { id: ask.id ?? 'a1', tenant: ask.tenant ?? 't1' },
        key: { id: 'k1', tenant: 't1', quotaCertificates: 0, quotaSeconds: 0 },
        identifiers: [dns('www.shop.test')],
        replaces: null,
        ...ask,
      }),
    );
  const revokedBy = (serial: string, actor: string) =>
    revocations.set(serial, { revokedBy: actor } as Revocation);
  return { clock, refused, ends, due, replaced, places, revokedBy, limits, order };
}

async function problemOf(act: () => void | Promise<void>): Promise<AcmeProblem | undefined> {
  try {
    await act();
    return undefined;
  } catch (thrown) {
    assert.ok(thrown instanceof AcmeRefusal, String(thrown));
    assert.equal(thrown.problem.type, 'rateLimited');
    return thrown.problem;
  }
}

test('each limit is counted by its own key, and a refusal names it', async () => {
  for (const [name, first, same, other] of [
    ['ordersPerAccount', {}, { identifiers: [dns('b.test')] }, { id: 'a2' }],
    [
      'ordersPerNames',
      { identifiers: [dns('a.test'), dns('b.test')] },
      { identifiers: [dns('b.test'), dns('a.test')] },
      { identifiers: [dns('a.test')] },
    ],
    ['ordersPerTenant', {}, { id: 'a2' }, { tenant: 't2' }],
  ] as const) {
    const { order, refused } = world({ [name]: { count: 1, seconds: 60 } });
    assert.equal(await order(first), undefined);
    const problem = await order(same);
    assert.match(problem?.detail ?? '', new RegExp(`limit ${name}.*1 in 60 s.*60 s`));
    assert.equal(await order(other), undefined, name);
    assert.deepEqual(refused, [name]);
  }
});

test('overload is 503 with a short wait, and a wait for people is 429 with the whole of it', async () => {
  for (const [seconds, status, retryAfterSeconds] of [
    [300, 503, 300],
    [hour, 503, 600],
    [2 * hour, 429, 2 * hour],
  ] as const) {
    const { order } = world({ ordersPerAccount: { count: 1, seconds } });
    await order({});
    const problem = await order({});
    assert.deepEqual([problem?.status, problem?.retryAfterSeconds], [status, retryAfterSeconds]);
  }
});

test('a limit lets through again what its wait has said', async () => {
  const { order, clock } = world({ ordersPerAccount: { count: 2, seconds: 100 } });
  assert.deepEqual([await order({}), await order({})], [undefined, undefined]);
  assert.equal((await order({}))?.retryAfterSeconds, 50);
  clock.advance(50_000);
  assert.equal(await order({}), undefined);
  assert.equal((await order({}))?.retryAfterSeconds, 50);
});

test('a refused order takes nothing of any limit', async () => {
  const { order, clock } = world({
    ordersPerAccount: { count: 1, seconds: 10 },
    ordersPerTenant: { count: 2, seconds: 1_000 },
  });
  await order({});
  for (let tries = 0; tries < 5; tries += 1) assert.ok(await order({}));
  clock.advance(10_000);
  assert.equal(await order({}), undefined, 'the tenant had a place left');
});

test('failed validations pause a name for one account, wildcard or not, and say what to do', async () => {
  const { order, ends, clock, refused } = world({ failuresPerName: { count: 2, seconds: hour } });
  const now = clock.now();
  const counter = failureCounter('a1', dns('www.shop.test'));
  ends.set(counter, [now + 100]);
  assert.equal(await order({}), undefined, 'not yet');
  ends.set(counter, [now + 900, now + 100]);
  const problem = await order({ identifiers: [dns('a.test'), dns('*.www.shop.test')] });
  assert.match(problem?.detail ?? '', /failuresPerName.*www\.shop\.test.*mend what it names/);
  assert.deepEqual([problem?.status, problem?.retryAfterSeconds], [503, 100]);
  assert.equal(await order({ id: 'a2' }), undefined, 'another account');
  assert.equal(await order({ identifiers: [dns('shop.test')] }), undefined, 'another name');
  clock.advance(100_000);
  assert.equal(await order({}), undefined, 'one try when the older failure counts no more');
  assert.deepEqual(refused, ['failuresPerName']);
});

test('a failed validation is counted by its record in the log', () => {
  const until = 1_900_000_000;
  const counter = failureCounter('a1', dns('*.www.shop.test'));
  const detail = { quotaPlaces: [placeText(counter, until)] };
  assert.deepEqual(takenPlacesIn({ kind: 'acme-challenge.failed', detail }), [{ counter, until }]);
  assert.deepEqual(takenPlacesIn({ kind: 'acme-challenge.validated', detail }), []);
});

test('changes of an account and wrong signatures are bounded', async () => {
  const { limits } = world({
    changesPerAccount: { count: 1, seconds: 60 },
    badSignaturesPerSecond: 0.1,
  });
  const change = (id: string) => problemOf(() => limits.accountChange(id));
  assert.equal(await change('a1'), undefined);
  assert.match((await change('a1'))?.detail ?? '', /changesPerAccount/);
  assert.equal(await change('a2'), undefined);
  const verify = (client: string, signer: string) =>
    problemOf(() => limits.requireSignatures(client, signer));
  for (let tries = 0; tries < 2; tries += 1)
    assert.equal(await verify('192.0.2.1', 'a1'), undefined, 'it takes nothing');
  limits.badSignature('192.0.2.1', 'a1');
  assert.match((await verify('192.0.2.1', 'a1'))?.detail ?? '', /badSignaturesPerSecond/);
  assert.equal(await verify('192.0.2.2', 'a1'), undefined, 'another address');
  assert.equal(await verify('192.0.2.1', 'a2'), undefined, 'another account');
});

test('a renewal in its window is free once, and neither before it nor after an own revocation', async () => {
  const { order, due, replaced, revokedBy } = world({
    ordersPerAccount: { count: 1, seconds: 1_000 },
  });
  await order({});
  assert.ok(await order(renewal('41')), 'its window has not begun');
  due.add('41');
  assert.ok(await order({ replaces: { serial: '41', isRenewal: false } }), 'it has other names');
  assert.equal(await order(renewal('41')), undefined);
  replaced.add('41');
  assert.ok(await order(renewal('41')), 'free once');
  for (const [serial, by, isFree] of [
    ['42', 'acme:a1', false],
    ['43', `key ${'ab'.repeat(32)}`, false],
    ['44', 'uid:0', true],
    ['45', 'acme:a2', true],
  ] as const) {
    due.add(serial);
    revokedBy(serial, by);
    assert.equal((await order(renewal(serial))) === undefined, isFree, by);
  }
});

test('a free renewal is still one of those that this server can take a second', async () => {
  const { order, due, refused } = world({ ordersPerSecond: 0.1 });
  due.add('41').add('42');
  assert.equal(await order(renewal('41')), undefined);
  assert.equal((await order(renewal('42')))?.retryAfterSeconds, 10);
  assert.deepEqual(refused, ['ordersPerSecond']);
});

test('a used quota of the tenant or the EAB key says when the next place is free', async () => {
  const { order, ends, places, clock, due, refused } = world();
  const now = clock.now();
  const key = { id: 'k1', tenant: 't1', quotaCertificates: 2, quotaSeconds: 86_400 };
  ends.set('eab-key:k1', [now + 9_000, now + 7_000, now - 1]);
  due.add('41');
  for (const replaces of [null, renewal('41').replaces]) {
    const problem = await order({ key, replaces });
    assert.deepEqual(
      [problem?.status, problem?.retryAfterSeconds, problem?.code],
      [429, 7_000, 'EAB_QUOTA_USED'],
      'quotas count renewals',
    );
  }
  assert.equal(await order({ key: { ...key, quotaCertificates: 3 } }), undefined);
  const of = { of: 'tenant', rule: 't1', limit: 1, perSeconds: 60 } as const;
  places.set('t1', { counter: 'tenant:t1', ...of });
  assert.equal(await order({}), undefined);
  ends.set('tenant:t1', [now + 30]);
  const problem = await order({});
  assert.deepEqual([problem?.retryAfterSeconds, problem?.code], [30, 'TENANT_QUOTA_USED']);
  assert.match(problem?.detail ?? '', /tenant t1 is used: 1 certificates in 60 s/);
  assert.deepEqual(refused, ['quotaOfEabKey', 'quotaOfEabKey', 'quotaOfTenant']);
});

test('one address without an account is bounded, an IPv6 network as one, and others go on', async () => {
  const { limits } = world({ anonymousPerSecond: 0.1 });
  const ask = (client: string) => problemOf(() => limits.anonymous(client));
  assert.equal(await ask('192.0.2.1'), undefined);
  assert.match((await ask('::ffff:192.0.2.1'))?.detail ?? '', /anonymousPerSecond/);
  assert.equal(await ask('192.0.2.2'), undefined);
  assert.equal(await ask('2001:db8:0:1::1'), undefined);
  assert.ok(await ask('2001:db8:0:1:ffff::2'));
  assert.equal(await ask('2001:db8:0:2::1'), undefined);
});

test('accounts are bounded for all clients together', async () => {
  const { limits } = world({ accountsPerSecond: 0.1 });
  assert.equal(await problemOf(() => limits.newAccount()), undefined);
  assert.equal((await problemOf(() => limits.newAccount()))?.status, 503);
});

test('the page of limits names every limit', () => {
  const text = world().limits.text();
  for (const name of [...Object.keys(settings), 'quotaOfTenant', 'quotaOfEabKey'])
    assert.match(text, new RegExp(`^${name}: `, 'm'));
});

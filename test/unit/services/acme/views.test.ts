import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AcmeOrder, Authorization, ChallengeType } from '../../../../src/domain/index.ts';
import { advisedProblem } from '../../../../src/services/acme/challenge-advice.ts';
import { AcmeUrls } from '../../../../src/services/acme/urls.ts';
import { authorizationView, orderView } from '../../../../src/services/acme/views.ts';

const now = 1_800_000_000;
const options = { urls: new AcmeUrls('https://ca.test/'), now, caaIdentities: ['ca.test'] };

const authorization = (
  over: Partial<Authorization> = {},
  types: readonly ChallengeType[] = ['http-01', 'dns-01'],
): Authorization => ({
  ...{ identifier: { type: 'dns', value: 'www.shop.test' }, wildcard: false },
  ...{ status: 'pending', shownBy: 'challenge', expiresAt: now + 60, token: 'dG9rZW4' },
  challenges: types.map((type) => ({
    ...{ type, status: 'pending', validatedAt: null, problem: null },
  })),
  ...over,
});

const order = (over: Partial<AcmeOrder> = {}): AcmeOrder => ({
  ...{ id: '01a22b77-eb28-7643-b3a4-bb779b91ed84', accountId: 'a1', eabKeyId: 'k1' },
  ...{ tenant: 'shop', authorizations: [authorization()], profile: 'short', replaces: null },
  ...{ stage: 'open', csrDer: null, serial: null, problem: null, expiresAt: now + 60 },
  ...{ createdAt: now, version: 1, ...over },
});

type Shown = Readonly<Record<string, unknown>>;
const shown = (value: Authorization): Shown => authorizationView(order(), 0, value, options);
const challengesOf = (value: Authorization): readonly Shown[] =>
  shown(value)['challenges'] as readonly Shown[];

test('an order shows its identifiers as they were ordered, wildcards included', () => {
  const wildcard = authorization({ wildcard: true });
  const view = orderView(
    order({ authorizations: [wildcard, authorization()] }),
    undefined,
    options,
  );
  assert.deepEqual(view['identifiers'], [
    { type: 'dns', value: '*.www.shop.test' },
    { type: 'dns', value: 'www.shop.test' },
  ]);
  assert.deepEqual(Object.keys(view).includes('replaces'), false);
  assert.equal(view['expires'], '2027-01-15T08:01:00Z');
  assert.equal(view['certificate'], undefined);
  assert.equal(view['error'], undefined);
});

test('an authorization says wildcard: true, or does not say it', () => {
  assert.equal(shown(authorization({ wildcard: true }))['wildcard'], true);
  assert.equal('wildcard' in shown(authorization()), false);
  assert.deepEqual(shown(authorization({ wildcard: true }))['identifier'], {
    ...{ type: 'dns', value: 'www.shop.test' },
  });
});

test('all challenges of an authorization have its token, but dns-persist-01, which has none', () => {
  assert.deepEqual(
    challengesOf(authorization()).map(({ token }) => token),
    ['dG9rZW4', 'dG9rZW4'],
  );
  const [persistent] = challengesOf(authorization({}, ['dns-persist-01'])) as [Shown];
  assert.equal('token' in persistent, false);
  assert.deepEqual(persistent['issuer-domain-names'], ['ca.test']);
});

test('an invalid authorization shows the challenge that failed, with its error', () => {
  const problem = { type: 'connection', detail: 'no answer' };
  const { challenges } = authorization();
  const failed = authorization({
    status: 'invalid',
    challenges: challenges.map((each) =>
      each.type === 'http-01' ? { ...each, status: 'invalid', problem } : each,
    ),
  });
  const error = {
    type: 'urn:ietf:params:acme:error:connection',
    detail:
      'no answer. Check that the name leads to this client, that the client answers there, and ' +
      'that the port is open for this CA',
  };
  assert.deepEqual(
    challengesOf(failed).map((each) => [each['type'], each['error']]),
    [['http-01', error]],
  );
  const view = orderView(order({ authorizations: [failed] }), undefined, options);
  assert.deepEqual([view['status'], view['error']], ['invalid', error]);
});

test('a failed challenge says in its detail what to do next, once', () => {
  const detailOf = (type: ChallengeType, detail: string): string =>
    advisedProblem(type, { type: 'unauthorized', detail }).detail;
  assert.match(detailOf('http-01', 'status 404'), /^status 404\. Check that the name leads to/);
  assert.match(detailOf('dns-01', 'no TXT record'), /until every name server has the record$/);
  const told = 'the account has ended. Make another one';
  assert.equal(detailOf('http-01', told), told);
});

test('an order that has expired says why it is invalid', () => {
  const view = orderView(order({ expiresAt: now - 1 }), undefined, options);
  assert.equal(view['status'], 'invalid');
  assert.match(JSON.stringify(view['error']), /has expired/);
});

test('an authorization of an owner has no challenge, and its order is ready', () => {
  const owned = authorization({ status: 'valid', shownBy: 'owner', token: '', challenges: [] });
  assert.deepEqual(challengesOf(owned), []);
  const view = orderView(order({ authorizations: [owned] }), undefined, options);
  assert.equal(view['status'], 'ready');
});

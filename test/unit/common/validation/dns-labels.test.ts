import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dnsAccount01Name } from '../../../../src/common/validation/dns-account-01.ts';
import { persistProblem } from '../../../../src/common/validation/dns-persist-01.ts';
import { offeredChallenges } from '../../../../src/services/acme/offered-challenges.ts';
import { isOwnListener } from '../../../../src/common/validation/own-listeners.ts';

describe('dns-account-01', () => {
  it('has the label of the example in its draft', () => {
    assert.equal(
      dnsAccount01Name('example.org', 'https://example.com/acme/acct/ExampleAccount'),
      '_ujmmovf2vn55tgye._acme-challenge.example.org',
    );
  });
});

describe('dns-persist-01', () => {
  const accountUri = 'https://ca.test/acme/account/1';
  const context = { identities: ['ca.test'], now: 1000 };
  const problem = (texts: readonly string[], wildcard = false): string | undefined =>
    persistProblem(texts, { wildcard, accountUri }, context);
  const own = `ca.test; accounturi=${accountUri}`;

  for (const text of [
    own,
    `CA.test.;accounturi=${accountUri}`,
    `ca.test; AccountURI=${accountUri}`,
    `${own}; persistUntil=1000`,
    `${own}; policy=wildcard; unknown=1`,
  ])
    it(`is valid with ${text}`, () => {
      assert.equal(problem(['other', text]), undefined);
    });

  for (const [text, reason] of [
    ['', /no TXT record names this CA/],
    [`other.test; accounturi=${accountUri}`, /names this CA/],
    ['ca.test', /another account/],
    [`${own}2`, /another account/],
    [`${own};`, /malformed/],
    [`${own}; accounturi=${accountUri}`, /malformed/],
    [`${own}; policy`, /malformed/],
    [`${own}; persistUntil=999`, /has ended/],
    [`${own}; persistUntil=soon`, /no number/],
  ] as const)
    it(`is not valid with ${JSON.stringify(text)}`, () => {
      assert.match(problem([text]) ?? 'valid', reason);
    });

  it('needs policy=wildcard for a wildcard', () => {
    assert.match(problem([own], true) ?? '', /policy=wildcard/);
    assert.equal(problem([`${own}; policy=WildCard`], true), undefined);
  });

  it('needs a record', () => {
    assert.match(problem([]) ?? '', /no TXT record/);
  });
});

describe('the challenges of an authorization', () => {
  const all = ['http-01', 'dns-01', 'tls-alpn-01', 'dns-account-01', 'dns-persist-01'] as const;
  const dns = { identifier: { type: 'dns', value: 'app.test' }, wildcard: false } as const;

  it('are those of the configuration, and dns-persist-01 for no key that does not name it', () => {
    assert.deepEqual(offeredChallenges(dns, { challengeTypes: [] }, all), all.slice(0, 4));
    assert.deepEqual(
      offeredChallenges(dns, { challengeTypes: ['dns-persist-01', 'dns-01'] }, all),
      ['dns-persist-01', 'dns-01'],
    );
  });

  it('of a wildcard are in DNS, those of an IP address at the address', () => {
    const wildcard = { ...dns, wildcard: true };
    const ip = { identifier: { type: 'ip', value: '10.0.0.1' }, wildcard: false } as const;
    assert.deepEqual(offeredChallenges(wildcard, { challengeTypes: all }, all), [
      'dns-01',
      'dns-account-01',
      'dns-persist-01',
    ]);
    assert.deepEqual(offeredChallenges(ip, { challengeTypes: all }, all), [
      'http-01',
      'tls-alpn-01',
    ]);
  });
});

describe('the own listeners', () => {
  const own = isOwnListener(
    () => [
      { address: '0.0.0.0', port: 443 },
      { address: '10.0.0.9', port: 80 },
    ],
    () => ['10.0.0.1', 'fd00::1'],
  );
  it('are their ports at every address of this machine', () => {
    assert.deepEqual(
      [own('10.0.0.1', 443), own('fd00::1', 443), own('10.0.0.1', 80), own('10.0.0.9', 80)],
      [true, true, true, true],
    );
    assert.deepEqual([own('10.0.0.2', 443), own('10.0.0.1', 8080)], [false, false]);
  });
});

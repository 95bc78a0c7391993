import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { keyTypes } from '../../../src/common/x509/index.ts';
import { checkEabKey, eabKeyEnd, type EabKeyInput } from '../../../src/domain/index.ts';

const tenant = {
  name: 'shop',
  dnsSuffixes: ['shop.example.org', 'pay.example.org'],
  state: 'active',
} as const;
const limits = {
  minimumTtlSeconds: 60,
  reservedDnsNames: ['ca.shop.example.org'],
  defaultProfile: 'classic',
} as const;
const now = 1_000_000;

const least: EabKeyInput = {
  tenant: 'shop',
  description: '',
  dnsPatterns: ['*.shop.example.org'],
  ipRanges: [],
  wildcards: false,
  profiles: [],
  ttlSeconds: 0,
  keyTypes: [],
  proof: '',
  challengeTypes: [],
  accounts: '',
  quotaCertificates: 0,
  quotaSeconds: 0,
  expiresAt: 0,
};
const check = (over: Partial<EabKeyInput>, of: Parameters<typeof checkEabKey>[1] = tenant) =>
  checkEabKey({ ...least, ...over }, of, limits, now);
const codeOf = (over: Partial<EabKeyInput>): string => {
  try {
    check(over);
    return 'accepted';
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, String(thrown));
    return thrown.code;
  }
};

describe('the rules of an EAB key', () => {
  test('what is left out has its default', () => {
    assert.deepEqual(check({}), {
      ...least,
      profiles: ['classic'],
      keyTypes,
      proof: 'challenge',
      accounts: 'many',
    });
  });

  test('patterns are inside the suffixes of its tenant, letter by letter', () => {
    assert.deepEqual(
      check({ dnsPatterns: ['*.Shop.example.org', 'shop.example.org', 'a.*.pay.example.org'] })
        .dnsPatterns,
      ['*.shop.example.org', 'a.*.pay.example.org', 'shop.example.org'],
    );
    for (const pattern of [
      'workshop.example.org',
      '*.example.org',
      '*.*.org',
      'shop.*.org',
      'shop.example.org.evil.test',
      'other.test',
    ])
      assert.equal(codeOf({ dnsPatterns: [pattern] }), 'PATTERN_INVALID', pattern);
    assert.equal(codeOf({ dnsPatterns: ['ca.shop.example.org'] }), 'DNS_NAME_RESERVED');
    assert.equal(codeOf({ dnsPatterns: ['a b.shop.example.org'] }), 'DNS_NAME_INVALID');
    assert.equal(codeOf({ dnsPatterns: [] }), 'PATTERN_INVALID', 'it would allow nothing');
    assert.deepEqual(check({ dnsPatterns: [], ipRanges: ['192.0.2.0/24'] }).ipRanges, [
      '192.0.2.0/24',
    ]);
    assert.equal(codeOf({ ipRanges: ['192.0.2.0/33'] }), 'IP_ADDRESS_INVALID');
    const many = Array.from({ length: 101 }, (_, index) => `n${index}.shop.example.org`);
    assert.equal(codeOf({ dnsPatterns: many }), 'INVALID_REQUEST');
  });

  test('wildcard names need a pattern that begins with a wildcard', () => {
    assert.equal(check({ wildcards: true }).wildcards, true);
    for (const pattern of ['www.shop.example.org', 'a.*.shop.example.org'])
      assert.equal(codeOf({ wildcards: true, dnsPatterns: [pattern] }), 'PATTERN_INVALID');
  });

  test('a life fits every profile of the key', () => {
    assert.equal(check({ ttlSeconds: 86_400, profiles: ['hours', 'classic'] }).ttlSeconds, 86_400);
    assert.equal(
      codeOf({ ttlSeconds: 86_401, profiles: ['classic', 'hours'] }),
      'TTL_OUT_OF_RANGE',
    );
    assert.equal(codeOf({ ttlSeconds: 91 * 86_400 }), 'TTL_OUT_OF_RANGE');
    for (const ttlSeconds of [-1, 59, 0.5])
      assert.equal(codeOf({ ttlSeconds }), 'TTL_OUT_OF_RANGE');
    assert.deepEqual(check({ profiles: ['hours', 'short', 'hours'] }).profiles, ['hours', 'short']);
    assert.equal(codeOf({ profiles: ['revocable'] }), 'INVALID_REQUEST');
  });

  test('a quota has both, a number and a time, or neither', () => {
    assert.equal(check({ quotaCertificates: 10, quotaSeconds: 3600 }).quotaSeconds, 3600);
    for (const [quotaCertificates, quotaSeconds] of [
      [10, 0],
      [0, 3600],
      [-1, 3600],
      [1.5, 3600],
      [10, 59],
      [10, 32 * 86_400],
    ] as const)
      assert.equal(codeOf({ quotaCertificates, quotaSeconds }), 'INVALID_REQUEST');
  });

  test('other values that it can not have are refused', () => {
    for (const over of [
      { description: 'a\nb' },
      { description: 'a'.repeat(201) },
      { proof: 'none' },
      { accounts: '2' },
      { challengeTypes: ['http-02'] },
      { challengeTypes: ['http-01'], proof: 'owner' },
      { expiresAt: now },
      { expiresAt: -1 },
    ])
      assert.equal(codeOf(over), 'INVALID_REQUEST', JSON.stringify(over));
    assert.equal(codeOf({ keyTypes: ['dsa'] }), 'KEY_UNSUPPORTED');
    assert.deepEqual(
      check({ challengeTypes: ['dns-persist-01', 'http-01'], accounts: 'single' }).challengeTypes,
      ['http-01', 'dns-persist-01'],
    );
    assert.throws(() => check({}, { ...tenant, state: 'ended' }), { code: 'TENANT_ENDED' });
  });

  test('it ends by revocation, or with its last second', () => {
    const end = (revokedAt: number | null, expiresAt: number) =>
      eabKeyEnd({ revokedAt, expiresAt }, now);
    assert.equal(end(null, 0), undefined);
    assert.equal(end(null, now + 1), undefined);
    assert.equal(end(null, now), 'expired');
    assert.equal(end(5, now + 1), 'revoked');
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import {
  checkIpRange,
  checkNames,
  uncoveredName,
  type NamesGrant,
} from '../../../src/domain/index.ts';

const reserved = ['ca.mesh.test', '*.linkerd.cluster.local'];
const codeOf = (act: () => unknown): string => {
  try {
    act();
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};
const names = (dnsNames: readonly string[], ips: readonly string[] = []) =>
  checkNames({ dnsNames, ips }, reserved);

test('names come out in lower case, addresses in canonical text, each once, in their order', () => {
  assert.deepEqual(
    names(
      ['WWW.Shop.test', 'shop.test', 'www.shop.test', '*.shop.test'],
      ['2001:DB8:0:0:0:0:0:7', '192.0.2.7', '2001:db8::7'],
    ),
    {
      kind: 'names',
      dnsNames: ['www.shop.test', 'shop.test', '*.shop.test'],
      ips: ['2001:db8::7', '192.0.2.7'],
    },
  );
});

test('what is no name or address, or belongs to the CA, is refused with its code', () => {
  for (const [code, dnsNames, ips] of [
    ['INVALID_REQUEST', [], []],
    ['INVALID_REQUEST', Array.from({ length: 99 }, (_, n) => `n${n}.test`), ['10.0.0.1', '::1']],
    ['DNS_NAME_INVALID', ['*.test'], []],
    ['DNS_NAME_INVALID', ['*'], []],
    ['DNS_NAME_INVALID', ['a.*.shop.test'], []],
    ['DNS_NAME_INVALID', ['*a.shop.test'], []],
    ['DNS_NAME_INVALID', ['*.*.shop.test'], []],
    ['DNS_NAME_INVALID', ['shop.test.'], []],
    ['DNS_NAME_INVALID', ['192.0.2.7'], []],
    ['DNS_NAME_INVALID', ['b\u00fccher.test'], []],
    ['DNS_NAME_INVALID', ['shop.test\0.evil.test'], []],
    ['DNS_NAME_RESERVED', ['ca.mesh.test'], []],
    ['DNS_NAME_RESERVED', ['CA.mesh.test'], []],
    ['DNS_NAME_RESERVED', ['*.mesh.test'], []],
    ['DNS_NAME_RESERVED', ['linkerd.cluster.local'], []],
    ['DNS_NAME_RESERVED', ['*.linkerd.cluster.local'], []],
    ['DNS_NAME_RESERVED', ['*.cluster.local'], []],
    ['IP_ADDRESS_INVALID', [], ['192.0.2']],
    ['IP_ADDRESS_INVALID', [], ['192.0.2.07']],
    ['IP_ADDRESS_INVALID', [], ['::ffff:192.0.2.7']],
    ['IP_ADDRESS_INVALID', [], ['::ffff:c000:207']],
    ['IP_ADDRESS_INVALID', [], ['fe80::1%eth0']],
    ['IP_ADDRESS_INVALID', [], ['10.0.0.0/8']],
    ['ok', ['*.ca.mesh.test', 'x.mesh.test'], []],
  ] as const)
    assert.equal(
      codeOf(() => names(dnsNames, ips)),
      code,
      JSON.stringify([dnsNames, ips]),
    );
});

test('a grant covers a wildcard only if it says so, and an address only in one of its ranges', () => {
  const grant: NamesGrant = {
    dnsPatterns: ['*.shop.test', 'www.other.test'],
    ipRanges: ['10.0.0.0/8', '2001:db8::/32'],
    wildcards: false,
  };
  const missed = (dnsNames: readonly string[], ips: readonly string[] = [], over = {}) =>
    uncoveredName({ ...grant, ...over }, { dnsNames, ips });
  const wildcards = { wildcards: true };
  assert.equal(missed(['a.shop.test', 'www.other.test'], ['10.1.2.3', '2001:db8::7']), undefined);
  assert.equal(missed(['*.shop.test']), 'the wildcard *.shop.test');
  assert.equal(missed(['*.shop.test'], [], wildcards), undefined);
  assert.equal(missed(['*.other.test'], [], wildcards), 'the name *.other.test');
  assert.equal(missed(['*.www.other.test'], [], wildcards), 'the name *.www.other.test');
  assert.equal(missed(['shop.test']), 'the name shop.test');
  assert.equal(missed(['a.b.shop.test']), 'the name a.b.shop.test');
  assert.equal(missed([], ['11.0.0.1']), 'the address 11.0.0.1');
  assert.equal(missed([], ['2001:db9::1']), 'the address 2001:db9::1');
  assert.equal(missed([], ['::a00:1']), 'the address ::a00:1');
});

test('a range is an address or CIDR notation, in canonical text', () => {
  assert.equal(checkIpRange('2001:DB8:0::/032'), '2001:db8::/32');
  assert.equal(checkIpRange('10.0.0.1'), '10.0.0.1');
  for (const text of ['', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '/8', '::ffff:0:0/96', 'a/8'])
    assert.equal(
      codeOf(() => checkIpRange(text)),
      'IP_ADDRESS_INVALID',
      text,
    );
});

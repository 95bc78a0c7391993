import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  checkDelegation,
  chooseNamesDelegation,
  type DelegationInput,
} from '../../../src/domain/delegation-rules.ts';
import type { Delegation, Proven } from '../../../src/domain/index.ts';

const front = 'spiffe://td.test/meshca/control-plane/istio/prod';
const clientOf = (clientId: string, controlPlaneIds: readonly string[]): string =>
  checkDelegation(
    {
      clientId,
      patterns: ['spiffe://td.test/ns/*/sa/*'],
      maxTtlSeconds: 3600,
      keyTypes: [],
      dnsPatterns: [],
      ipRanges: [],
      wildcards: false,
      profile: 'short-lived',
      expiresAt: 0,
    },
    {
      trustDomain: TrustDomain.of('td.test'),
      minimumTtlSeconds: 10,
      maximumX509TtlSeconds: 86_400,
      controlPlaneIds,
      reservedDnsNames: [],
    },
    1_800_000_000,
  ).clientId;

test('of reserved IDs only the fronts of configured control planes have delegations', () => {
  assert.equal(clientOf(front, [front]), front);
  assert.equal(clientOf('spiffe://td.test/control', [front]), 'spiffe://td.test/control');
  const refused = (next: RegExp) => (thrown: unknown) =>
    thrown instanceof PkiError && thrown.code === 'SPIFFE_ID_RESERVED' && next.test(thrown.next);
  assert.throws(() => clientOf(`${front}x`, [front]), refused(/istio\/prod\.$/));
  assert.throws(() => clientOf(front, []), refused(/controlPlanes/));
  assert.throws(() => clientOf('spiffe://td.test/meshca/server', [front]), refused(/./));
});

const limits = {
  trustDomain: TrustDomain.of('td.test'),
  minimumTtlSeconds: 10,
  maximumX509TtlSeconds: 3600,
  controlPlaneIds: [],
  reservedDnsNames: ['ca.td.test'],
};
const ofNames: DelegationInput = {
  clientId: 'spiffe://td.test/edge',
  patterns: [],
  maxTtlSeconds: 86_400,
  keyTypes: [],
  dnsPatterns: ['*.shop.test'],
  ipRanges: ['10.0.0.0/8'],
  wildcards: true,
  profile: 'short',
  expiresAt: 0,
};

test('a delegation of names has DNS patterns and ranges, no SPIFFE IDs, and the life of its profile', () => {
  const codeOf = (over: Partial<DelegationInput>): string => {
    try {
      checkDelegation({ ...ofNames, ...over }, limits, 1_800_000_000);
      return 'ok';
    } catch (thrown) {
      return thrown instanceof PkiError ? thrown.code : String(thrown);
    }
  };
  const ids = { patterns: ['spiffe://td.test/a'] };
  for (const [code, over] of [
    ['ok', {}],
    ['ok', { dnsPatterns: [], ipRanges: ['::1'] }],
    ['ok', { profile: 'classic', maxTtlSeconds: 90 * 86_400 }],
    ['PATTERN_INVALID', ids],
    ['PATTERN_INVALID', { dnsPatterns: [], ipRanges: [] }],
    ['IP_ADDRESS_INVALID', { ipRanges: ['10.0.0.0/40'] }],
    ['DNS_NAME_RESERVED', { dnsPatterns: ['ca.td.test'] }],
    ['TTL_OUT_OF_RANGE', { maxTtlSeconds: 6 * 86_400 + 1 }],
    ['TTL_OUT_OF_RANGE', { profile: 'hours', maxTtlSeconds: 86_401 }],
    ['TTL_OUT_OF_RANGE', { profile: 'classic', maxTtlSeconds: 91 * 86_400 }],
    ['INVALID_REQUEST', { ...ids, profile: 'short-lived', maxTtlSeconds: 60 }],
    ['INVALID_REQUEST', { ...ids, profile: 'revocable', maxTtlSeconds: 60, ipRanges: [] }],
    ['INVALID_REQUEST', { profile: 'endpoint' }],
  ] as const)
    assert.equal(codeOf(over), code, JSON.stringify(over));
});

test('one delegation must cover all names of a request; what two allow never adds up', () => {
  const delegation = (over: Partial<Delegation>) =>
    ({
      ...checkDelegation(ofNames, limits, 1_800_000_000),
      id: uuidv7(),
      revokedAt: null,
      createdAt: 1,
      createdBy: 'uid:0',
      ...over,
    }) as Proven<Delegation>;
  const shop = delegation({ id: 'shop', ipRanges: [], keyTypes: ['ec-p256'] });
  const ranges = delegation({ id: 'ranges', dnsPatterns: [], profile: 'hours' });
  const mesh = delegation({ id: 'mesh', profile: 'short-lived' });
  const choice = (
    dnsNames: readonly string[],
    ips: readonly string[],
    over: Partial<Parameters<typeof chooseNamesDelegation>[1]> = {},
  ): string => {
    const chosen = chooseNamesDelegation([mesh, shop, ranges], {
      subject: { kind: 'names', dnsNames, ips },
      profile: undefined,
      ttlSeconds: 0,
      keyType: 'ec-p256',
      ...over,
    });
    return chosen.ok ? chosen.value.delegation.id : chosen.error.code;
  };
  assert.equal(choice(['a.shop.test'], []), 'shop');
  assert.equal(choice([], ['10.0.0.1']), 'ranges');
  assert.equal(choice(['a.shop.test'], ['10.0.0.1']), 'OUTSIDE_DELEGATION');
  assert.equal(choice(['a.shop.test'], [], { profile: 'hours' }), 'OUTSIDE_DELEGATION');
  assert.equal(choice(['a.shop.test'], [], { keyType: 'rsa-2048' }), 'KEY_UNSUPPORTED');
  assert.equal(choice(['a.shop.test'], [], { ttlSeconds: 86_401 }), 'TTL_OUT_OF_RANGE');
});

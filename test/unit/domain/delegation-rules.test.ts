import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { checkDelegation } from '../../../src/domain/delegation-rules.ts';

const front = 'spiffe://td.test/meshca/control-plane/istio/prod';
const clientOf = (clientId: string, controlPlaneIds: readonly string[]): string =>
  checkDelegation(
    {
      clientId,
      patterns: ['spiffe://td.test/ns/*/sa/*'],
      maxTtlSeconds: 3600,
      keyTypes: [],
      dnsPatterns: [],
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

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { AuthorityRegistry } from '../../../src/issuance/index.ts';

test('a key for which a CSR went out is the key of an authority from then on, without a refresh', () => {
  const requestedKeys = new Set<string>();
  const registry = new AuthorityRegistry({
    authorities: { list: () => Promise.resolve([]) },
    bundles: { latest: () => Promise.resolve(undefined) },
    objects: { require: (_kind, value) => value as never, prove: (_kind, value) => value as never },
    signers: { useKey: () => Promise.resolve(), forgetKey: () => Promise.resolve() },
    logger: silentLogger,
    requestedKeys,
  });
  assert.equal(registry.isAuthorityKey('ab'.repeat(32)), false);
  requestedKeys.add('ab'.repeat(32));
  assert.equal(registry.isAuthorityKey('ab'.repeat(32)), true);
});

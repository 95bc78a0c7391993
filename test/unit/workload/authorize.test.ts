import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import {
  authorizeAny,
  authorizeBy,
  authorizeId,
  authorizeMemberOf,
  authorizePattern,
  type Authorizer,
} from '../../../src/workload/authorize.ts';

const admits = (authorizer: Authorizer, id: string): boolean => authorizer.admits(SpiffeId.of(id));

test('authorizeId admits exactly the IDs that it names', () => {
  const two = authorizeId('spiffe://a.test/web', SpiffeId.of('spiffe://a.test/db'));
  assert.equal(admits(two, 'spiffe://a.test/web'), true);
  assert.equal(admits(two, 'spiffe://a.test/db'), true);
  assert.equal(admits(two, 'spiffe://a.test/web/x'), false);
  assert.equal(admits(two, 'spiffe://a.test/WEB'), false);
  assert.equal(admits(two, 'spiffe://b.test/web'), false);
});

test('authorizeId refuses what is no SPIFFE ID when it is made, not when a peer comes', () => {
  assert.throws(() => authorizeId('a.test/web'), { code: 'SPIFFE_ID_INVALID' });
});

test('authorizeMemberOf admits one trust domain, and none whose name begins or ends alike', () => {
  const members = authorizeMemberOf('a.test');
  assert.equal(admits(members, 'spiffe://a.test/x/y'), true);
  assert.equal(admits(members, 'spiffe://a.test.evil/x'), false);
  assert.equal(admits(members, 'spiffe://evil.a.test/x'), false);
  assert.throws(() => authorizeMemberOf('A.test'), { code: 'TRUST_DOMAIN_INVALID' });
  const two = authorizeMemberOf('a.test', 'b.test');
  assert.equal(admits(two, 'spiffe://b.test/x'), true);
  assert.equal(admits(two, 'spiffe://c.test/x'), false);
  assert.equal(two.description, 'any identity of a.test or b.test');
});

test('authorizePattern lets a star stand for one whole segment and a trailing double star for more', () => {
  const pattern = authorizePattern('spiffe://a.test/ns/*/web', 'spiffe://b.test/team/**');
  assert.equal(admits(pattern, 'spiffe://a.test/ns/x/web'), true);
  assert.equal(admits(pattern, 'spiffe://a.test/ns/x/y/web'), false);
  assert.equal(admits(pattern, 'spiffe://b.test/team/x/y'), true);
  assert.equal(admits(pattern, 'spiffe://b.test/team'), false);
  assert.throws(() => authorizePattern('spiffe://a.test/web*'), { code: 'PATTERN_INVALID' });
});

test('authorizeAny and authorizeBy do what they say', () => {
  assert.equal(admits(authorizeAny(), 'spiffe://a.test/x'), true);
  assert.equal(
    admits(
      authorizeBy('ends in x', (id) => id.path.endsWith('/x')),
      'spiffe://a.test/y',
    ),
    false,
  );
});

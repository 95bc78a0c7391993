import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';

const trustDomain = TrustDomain.of('mesh.test');

test('an ID keeps its trust domain and its path, and is the same however it was made', () => {
  for (const path of ['', '/ns/shop/sa/cart', '/a.b/_-/...', '/.hidden', '/meshca/server']) {
    const parsed = SpiffeId.of(`spiffe://mesh.test${path}`);
    assert.deepEqual([parsed.trustDomain.name, parsed.path], ['mesh.test', path]);
    assert.ok(parsed.equals(SpiffeId.in(trustDomain, path)));
  }
});

test('a path with a segment that is empty, relative or has another character is refused and told', () => {
  const problems = {
    '/': 'has an empty path segment or a trailing slash',
    '/a//b': 'has an empty path segment or a trailing slash',
    '/a/': 'has an empty path segment or a trailing slash',
    '/a/./b': 'has the path segment .',
    '/..': 'has the path segment ..',
    '/a b': 'has a character outside [A-Za-z0-9._-] in segment "a b"',
    '/a\n': 'has a character outside [A-Za-z0-9._-] in segment "a\\n"',
    '/ä': 'has a character outside [A-Za-z0-9._-] in segment "ä"',
  };
  for (const [path, problem] of Object.entries(problems)) {
    const told = (thrown: unknown): boolean =>
      thrown instanceof PkiError &&
      thrown.code === 'SPIFFE_ID_INVALID' &&
      thrown.message.endsWith(problem);
    assert.throws(() => SpiffeId.of(`spiffe://mesh.test${path}`), told, path);
    assert.throws(() => SpiffeId.in(trustDomain, path), told, path);
  }
});

test('a path does not change the trust domain, nor make the ID longer than it may be', () => {
  assert.throws(() => SpiffeId.in(trustDomain, ':1/a'), { code: 'SPIFFE_ID_INVALID' });
  const longest = `/${'a'.repeat(2048 - 'spiffe://mesh.test/'.length)}`;
  assert.equal(SpiffeId.in(trustDomain, longest).path, longest);
  assert.throws(() => SpiffeId.in(trustDomain, `${longest}a`), { code: 'SPIFFE_ID_INVALID' });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  parseSelector,
  parseTemplate,
  SpiffeId,
  type Selector,
  type Template,
} from '../../../../src/common/spiffe/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';

const selectors = (...texts: readonly string[]): Selector[] =>
  texts.map((text) => unwrap(parseSelector(text)));
const template = (text: string): Template => unwrap(parseTemplate(text));
const users = new Map([['unix.user', ['alice', 'bob', 'a.b', '..', 'x/y', 'meshca', 'server']]]);
const filled = (
  text: string,
  from: readonly Selector[],
  allowed: ReadonlyMap<string, readonly string[]> = users,
): string => {
  const result = template(text).fill(from, allowed);
  return result.ok ? result.value.toString() : result.error.code;
};

test('a placeholder takes the value of the selector with its type and key', () => {
  assert.equal(
    filled('spiffe://td/user/{unix.user}', selectors('unix:uid:1', 'unix:user:alice')),
    'spiffe://td/user/alice',
  );
  assert.equal(
    filled('spiffe://td/user/u-{unix.user}.web', selectors('unix:user:bob')),
    'spiffe://td/user/u-bob.web',
  );
  assert.equal(
    filled('spiffe://td/{unix.user}/{unix.user}', selectors('unix:user:bob')),
    'spiffe://td/bob/bob',
  );
});

test('a template that is not fixed text with one placeholder per segment is refused', () => {
  for (const text of [
    'spiffe://td/user/alice',
    'spiffe://td/{unix.user',
    'spiffe://td/unix.user}',
    'spiffe://td/{}',
    'spiffe://td/{unix}',
    'spiffe://td/{unix.}',
    'spiffe://td/{.user}',
    'spiffe://td/{{unix.user}}',
    'spiffe://td/{unix.user}{unix.group}',
    'spiffe://td/{unix.user}-{unix.group}',
    'spiffe://{unix.user}/x',
    'spiffe://td/{UNIX.user}',
    'spiffe://td/{unix.user}/',
    'spiffe://td//{unix.user}',
    'spiffe://td/../{unix.user}',
    'spiffe://td/a b/{unix.user}',
    'http://td/{unix.user}',
    '{unix.user}',
    '',
    'spiffe://td/{unix.user:x}',
    'spiffe://td/{unix.us er}',
    'spiffe://td?{unix.user}',
    'spiffe://td/%2e/{unix.user}',
    `spiffe://td/{unix.user}/${'x'.repeat(2100)}`,
    `spiffe://td${'/{unix.user}'.repeat(9)}`,
  ]) {
    const result = parseTemplate(text);
    assert.ok(!result.ok, text);
    assert.equal(result.error.code, 'TEMPLATE_INVALID', text);
  }
});

test('a template below the reserved path is refused, and so is a filling that arrives there', () => {
  const fixed = parseTemplate('spiffe://td/meshca/agent/{unix.user}');
  assert.ok(!fixed.ok && fixed.error.code === 'SPIFFE_ID_RESERVED');
  assert.equal(
    filled('spiffe://td/{unix.user}', selectors('unix:user:meshca')),
    'SPIFFE_ID_RESERVED',
  );
  assert.equal(
    filled('spiffe://td/{unix.user}/server', selectors('unix:user:meshca')),
    'SPIFFE_ID_RESERVED',
  );
  const joined = new Map([['unix.user', ['ca']]]);
  assert.equal(
    filled('spiffe://td/mesh{unix.user}/agent/x', selectors('unix:user:ca'), joined),
    'SPIFFE_ID_RESERVED',
  );
});

test('values that are not one path segment are refused even where an operator allowed them', () => {
  assert.equal(
    filled('spiffe://td/user/{unix.user}', selectors('unix:user:x/y')),
    'TEMPLATE_INVALID',
  );
  assert.equal(
    filled('spiffe://td/user/{unix.user}', selectors('unix:user:..')),
    'TEMPLATE_INVALID',
  );
});

test('two halves that make a dot-dot segment are refused', () => {
  const allowed = new Map([['unix.user', ['.', 'a']]]);
  assert.equal(
    filled('spiffe://td/user/.{unix.user}', selectors('unix:user:.'), allowed),
    'TEMPLATE_INVALID',
  );
});

test('a value outside the allowed list, or without any list, fills nothing', () => {
  assert.equal(
    filled('spiffe://td/user/{unix.user}', selectors('unix:user:mallory')),
    'TEMPLATE_INVALID',
  );
  assert.equal(
    filled('spiffe://td/user/{unix.user}', selectors('unix:user:alice'), new Map()),
    'TEMPLATE_INVALID',
  );
  assert.equal(
    filled(
      'spiffe://td/user/{unix.user}',
      selectors('unix:user:alice'),
      new Map([['unix.user', []]]),
    ),
    'TEMPLATE_INVALID',
  );
});

test('a selector of another type or key never fills the placeholder', () => {
  assert.equal(
    filled(
      'spiffe://td/user/{unix.user}',
      selectors('k8s:user:alice', 'unix:username:alice', 'unix:group:alice'),
    ),
    'TEMPLATE_INVALID',
  );
});

test('several values of a key fill it only if exactly one is allowed', () => {
  const groups = new Map([['unix.supplementary_group', ['dev', 'ops']]]);
  assert.equal(
    filled(
      'spiffe://td/g/{unix.supplementary_group}',
      selectors('unix:supplementary_group:dev', 'unix:supplementary_group:audio'),
      groups,
    ),
    'spiffe://td/g/dev',
  );
  assert.equal(
    filled(
      'spiffe://td/g/{unix.supplementary_group}',
      selectors('unix:supplementary_group:dev', 'unix:supplementary_group:ops'),
      groups,
    ),
    'TEMPLATE_INVALID',
  );
});

test('an ID is recognised as producible exactly when some allowed value gives it', () => {
  const of = (text: string, id: string): boolean =>
    template(text).canProduce(SpiffeId.of(id), users);
  assert.ok(of('spiffe://td/user/{unix.user}', 'spiffe://td/user/alice'));
  assert.ok(!of('spiffe://td/user/{unix.user}', 'spiffe://td/user/mallory'));
  assert.ok(!of('spiffe://td/user/{unix.user}', 'spiffe://other/user/alice'));
  assert.ok(!of('spiffe://td/{unix.user}/{unix.user}', 'spiffe://td/alice/bob'));
  assert.ok(of('spiffe://td/x-{unix.user}-y', 'spiffe://td/x-alice-y'));
  assert.ok(!of('spiffe://td/x-{unix.user}-y', 'spiffe://td/x-y'));
});

test('whatever the selector says, a filling changes nothing but its own segment', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), (value) => {
      const result = template('spiffe://td/a/u-{unix.user}/z').fill(
        [{ type: 'unix', value: `user:${value}` }],
        new Map([['unix.user', [value]]]),
      );
      if (!result.ok) return;
      assert.deepEqual(result.value.segments, ['a', `u-${value}`, 'z']);
      assert.ok(
        template('spiffe://td/a/u-{unix.user}/z').canProduce(
          result.value,
          new Map([['unix.user', [value]]]),
        ),
      );
    }),
    { numRuns: 500 },
  );
});

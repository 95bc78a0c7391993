import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { entryFromFile } from '../../../src/cli/entry-file-schema.ts';
import { entryFile } from '../../../src/cli/entry-file.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { Entry__Output } from '../../../src/common/wire/generated/meshca/admin/v1/Entry.ts';

const least = {
  spiffeId: 'spiffe://mesh.test/web',
  parentId: 'spiffe://mesh.test/meshca/agent/a',
  selectors: ['unix:uid:1000'],
};

const complete = {
  ...least,
  id: 'web',
  x509Ttl: '1h',
  jwtTtl: 300,
  profile: 'revocable',
  dnsNames: ['web.mesh.test'],
  hint: 'internal',
  expiresAt: '2030-01-01T00:00:00.000Z',
  admin: true,
  downstream: false,
  allowWeakSelectors: true,
  federatesWith: ['partner.test'],
  ips: ['192.0.2.7'],
  placeholders: { user: ['alice', 'bob'] },
};

const refusal = (value: unknown): string => {
  try {
    entryFromFile(value, 'f.yaml: entry 1');
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError && thrown.code === 'INVALID_REQUEST');
    return thrown.message;
  }
  return assert.fail('it was taken');
};

describe('an entry of a file', () => {
  test('has defaults for what is absent', () => {
    assert.deepEqual(entryFromFile(least, 'here'), {
      ...least,
      id: '',
      x509TtlSeconds: 0,
      jwtTtlSeconds: 0,
      profile: '',
      dnsNames: [],
      hint: '',
      expiresAt: 0,
      admin: false,
      downstream: false,
      allowWeakSelectors: false,
      federatesWith: [],
      ips: [],
      placeholders: [],
    });
  });

  test('is the same after export and apply', () => {
    const entry = entryFromFile(complete, 'here');
    assert.equal(entry.x509TtlSeconds, 3600);
    assert.equal(entry.expiresAt, 1_893_456_000);
    const exported = entryFile(entry as unknown as Entry__Output);
    assert.deepEqual(entryFromFile(exported, 'here'), entry);
  });

  test('is refused with the path of each field and what it may hold', () => {
    const cases: readonly (readonly [object, string])[] = [
      [{ spiffeId: 7 }, 'spiffeId: it is text'],
      [{ selectors: 'unix:uid:1' }, 'selectors: it is a list of texts'],
      [{ selectors: ['unix:uid:1', 2] }, 'selectors[1]: it is text'],
      [{ x509Ttl: 1.5 }, 'x509Ttl: it is whole seconds or a duration such as 1h'],
      [
        { jwtTtl: 'soon' },
        'jwtTtl: "soon" is not a duration. Write a whole number with a unit: 90s, 10m, 24h or 7d.',
      ],
      [{ expiresAt: true }, 'expiresAt: it is Unix seconds or an ISO 8601 instant'],
      [
        { expiresAt: 'tomorrow' },
        'expiresAt: "tomorrow" is not an instant; write Unix seconds or ISO 8601',
      ],
      [{ admin: 'yes' }, 'admin: it is true or false'],
      [{ hint: null }, 'hint: it is text'],
      [{ placeholders: ['a'] }, 'placeholders: it is a mapping of placeholders to lists of values'],
      [{ placeholders: { user: 'a' } }, 'placeholders.user: it is a list of texts'],
      [{ placeholders: { user: ['a', 1] } }, 'placeholders.user[1]: it is text'],
    ];
    for (const [change, message] of cases)
      assert.equal(refusal({ ...complete, ...change }), `f.yaml: entry 1: ${message}`);
  });

  test('is refused with every field that is missing, and with all problems at once', () => {
    assert.equal(
      refusal({ spiffeId: 'spiffe://mesh.test/a', downstream: 1 }),
      'f.yaml: entry 1: parentId is missing; selectors is missing; downstream: it is true or false',
    );
  });

  test('is refused for an unknown key, with the nearest known one', () => {
    assert.equal(
      refusal({ ...least, dnsName: [] }),
      'f.yaml: entry 1: unknown key "dnsName"; did you mean "dnsNames"?',
    );
    assert.equal(refusal({ ...least, zzzzzzzz: 1 }), 'f.yaml: entry 1: unknown key "zzzzzzzz"');
  });

  test('is refused when it is no mapping', () => {
    for (const value of [null, 'web', [least], 5])
      assert.equal(refusal(value), 'f.yaml: entry 1: it is a mapping of keys to values');
  });
});

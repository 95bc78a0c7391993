import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { draftOf } from '../../../src/cli/entry-draft.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { Entry__Output } from '../../../src/common/wire/generated/meshca/admin/v1/Entry.ts';

const present = {
  id: 'web',
  spiffeId: 'spiffe://mesh.test/web',
  parentId: 'spiffe://mesh.test/meshca/agent/a',
  selectors: ['unix:uid:1000'],
  x509TtlSeconds: 3600,
  jwtTtlSeconds: 300,
  profile: 'revocable',
  dnsNames: ['web.mesh.test'],
  hint: 'internal',
  expiresAt: 99,
  admin: true,
  downstream: false,
  allowWeakSelectors: false,
  federatesWith: ['partner.test'],
  ips: ['192.0.2.7'],
  placeholders: [],
  revision: 4,
} as unknown as Entry__Output;

describe('the entry that flags state', () => {
  test('has nothing that is not given, for a new one', () => {
    assert.deepEqual(
      draftOf(
        { spiffeId: 'spiffe://mesh.test/x', selector: ['unix:uid:1'], ttl: '1h' },
        undefined,
        0,
      ),
      {
        id: '',
        spiffeId: 'spiffe://mesh.test/x',
        parentId: '',
        selectors: ['unix:uid:1'],
        x509TtlSeconds: 3600,
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
      },
    );
  });

  test('keeps what is not given, for one that is there', () => {
    const { revision: _revision, ...stated } = present as unknown as Record<string, unknown>;
    assert.deepEqual(draftOf({}, present, 0), stated);
    assert.equal(draftOf({ admin: false }, present, 0).admin, false);
    assert.equal(draftOf({ expires: '1m' }, present, 1_000).expiresAt, 1_060);
  });

  test('takes the allowed values of placeholders, and refuses another form', () => {
    const { placeholders } = draftOf({ allow: ['unix.user=a,b'] }, undefined, 0);
    assert.deepEqual(placeholders, [{ placeholder: 'unix.user', allowed: ['a', 'b'] }]);
    for (const allow of ['unix.user', 'unix.user=', '=a'])
      assert.throws(
        () => draftOf({ allow: [allow] }, undefined, 0),
        (thrown) => PkiError.from(thrown).code === 'INVALID_REQUEST',
      );
  });
});

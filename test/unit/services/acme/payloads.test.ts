import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  parseFinalize,
  parseNewAccount,
  parseNewOrder,
  parseRevocation,
  parseUpdateAccount,
} from '../../../../src/services/acme/payloads.ts';
import type { AcmeResult } from '../../../../src/services/acme/problem.ts';

const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const typeOf = (result: AcmeResult<unknown>): string =>
  result.ok ? 'accepted' : result.problem.type;
const dns = (...values: readonly string[]) => values.map((value) => ({ type: 'dns', value }));
const order = (more: object) => parseNewOrder(bytes(more));

describe('the payload of an order', () => {
  it('has names in lower case and canonical addresses, each once', () => {
    const result = order({
      identifiers: [
        ...dns('App.Test', '*.App.Test', 'app.test'),
        { type: 'ip', value: '10.0.0.1' },
        { type: 'ip', value: '2001:DB8:0::1' },
      ],
      profile: 'short',
    });
    assert.ok(result.ok, JSON.stringify(result));
    assert.deepEqual(
      result.value.identifiers.map(({ value }) => value),
      ['app.test', '*.app.test', '10.0.0.1', '2001:db8::1'],
    );
    assert.equal(result.value.profile, 'short');
  });

  const refused: readonly [string, object, string][] = [
    ['no identifier', { identifiers: [] }, 'malformed'],
    ['no list', {}, 'malformed'],
    ['another type', { identifiers: [{ type: 'email', value: 'a@b' }] }, 'unsupportedIdentifier'],
    ['an address as a name', { identifiers: dns('10.0.0.1') }, 'malformed'],
    ['a wildcard inside', { identifiers: dns('a.*.test') }, 'malformed'],
    ['two wildcards', { identifiers: dns('*.*.test') }, 'malformed'],
    ['a whole top-level domain', { identifiers: dns('*.test') }, 'rejectedIdentifier'],
    ['a trailing dot', { identifiers: dns('app.test.') }, 'malformed'],
    ['an underscore', { identifiers: dns('a_b.test') }, 'malformed'],
    ['a range', { identifiers: [{ type: 'ip', value: '10.0.0.0/8' }] }, 'malformed'],
    ['a zone', { identifiers: [{ type: 'ip', value: 'fe80::1%lo' }] }, 'malformed'],
    ['dates', { identifiers: dns('a.test'), notAfter: '2030-01-01T00:00:00Z' }, 'malformed'],
    ['a wrong predecessor', { identifiers: dns('a.test'), replaces: 'serial' }, 'malformed'],
  ];
  for (const [name, payload, type] of refused)
    it(`is refused with ${name}`, () => assert.equal(typeOf(order(payload)), type));

  it('has at most 100 names', () => {
    const names = Array.from({ length: 101 }, (_, index) => `n${index}.test`);
    assert.equal(typeOf(order({ identifiers: dns(...names.slice(1)) })), 'accepted');
    assert.equal(typeOf(order({ identifiers: dns(...names) })), 'malformed');
  });

  it('gets a subproblem for each identifier that is wrong', () => {
    const result = order({ identifiers: [...dns('a.test', 'a_b'), { type: 'x', value: 'y' }] });
    assert.ok(!result.ok);
    assert.deepEqual(
      result.problem.subproblems?.map(({ identifier }) => identifier.value),
      ['a_b', 'y'],
    );
  });
});

describe('the other payloads', () => {
  it('are JSON in UTF-8', () => {
    for (const payload of [Buffer.alloc(0), Buffer.from('{'), Buffer.from([0x22, 0xff, 0x22])])
      for (const parse of [parseNewAccount, parseNewOrder, parseFinalize, parseRevocation])
        assert.equal(typeOf(parse(payload)), 'malformed');
  });

  it('of an account ignore what is not known', () => {
    const result = parseNewAccount(bytes({ onlyReturnExisting: true, future: 1 }));
    assert.deepEqual(result, { ok: true, value: { onlyReturnExisting: true } });
    assert.equal(typeOf(parseNewAccount(bytes({ contact: 'mailto:a@b.test' }))), 'malformed');
    assert.equal(typeOf(parseUpdateAccount(bytes({ status: 'valid' }))), 'malformed');
  });

  it('of a finalization and a revocation contain DER in base64url', () => {
    assert.deepEqual(parseFinalize(bytes({ csr: 'MAA' })), {
      ok: true,
      value: Buffer.from([0x30, 0]),
    });
    assert.deepEqual(parseRevocation(bytes({ certificate: 'MAA' })), {
      ok: true,
      value: { certificateDer: Buffer.from([0x30, 0]), reason: 0 },
    });
    for (const text of ['MAB', 'MAA=', 'MA+', '', 1]) {
      assert.equal(typeOf(parseFinalize(bytes({ csr: text }))), 'malformed', String(text));
      assert.equal(typeOf(parseRevocation(bytes({ certificate: text }))), 'malformed');
    }
    assert.equal(typeOf(parseRevocation(bytes({ certificate: 'MAA', reason: 11 }))), 'malformed');
  });
});

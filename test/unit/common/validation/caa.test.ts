import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  checkCaa,
  caaProblem,
  type CaaAsk,
  type CaaProperty,
} from '../../../../src/common/validation/caa.ts';
import { invalid } from '../../../../src/common/validation/outcome.ts';

const ours = ['ca.test'];
const ask: CaaAsk = {
  name: 'a.b.example',
  wildcard: false,
  accountUri: 'https://ca.test/acme/account/1',
  method: 'http-01',
};
const property = (tag: string, value: string, critical = false): CaaProperty => ({
  critical,
  tag,
  value,
});
const allows = (properties: readonly CaaProperty[], more: Partial<CaaAsk> = {}): boolean =>
  caaProblem(properties, { ...ask, ...more }, ours) === undefined;

describe('CAA', () => {
  const cases: readonly [string, readonly CaaProperty[], boolean, Partial<CaaAsk>?][] = [
    ['this CA', [property('issue', 'ca.test')], true],
    ['this CA in other letters', [property('issue', ' CA.Test ')], true],
    ['another CA', [property('issue', 'other.test')], false],
    ['a CA below this one', [property('issue', 'x.ca.test')], false],
    ['nobody', [property('issue', ';')], false],
    ['nobody, by an empty value', [property('issue', '')], false],
    ['one of several', [property('issue', 'other.test'), property('issue', 'ca.test')], true],
    ['contacts alone', [property('iodef', 'mailto:a@b.example')], true],
    ['an unknown property', [property('future', 'x')], true],
    [
      'an unknown critical property',
      [property('issue', 'ca.test'), property('tbs', '', true)],
      false,
    ],
    ['issuewild alone for a plain name', [property('issuewild', 'other.test')], true],
    ['issuewild for a wildcard', [property('issuewild', ';')], false, { wildcard: true }],
    [
      'issuewild before issue',
      [property('issue', 'other.test'), property('issuewild', 'ca.test')],
      true,
      { wildcard: true },
    ],
    ['issue for a wildcard', [property('issue', 'other.test')], false, { wildcard: true }],
    ['this account', [property('issue', `ca.test; accounturi=${ask.accountUri}`)], true],
    ['another account', [property('issue', `ca.test; accounturi=${ask.accountUri}1`)], false],
    ['this method', [property('issue', 'ca.test; validationmethods=dns-01,http-01')], true],
    ['another method', [property('issue', 'ca.test; validationmethods=dns-01')], false],
    [
      'both, of which one fails',
      [property('issue', `ca.test;accounturi=${ask.accountUri};validationmethods=dns-01`)],
      false,
    ],
    ['an unknown parameter', [property('issue', 'ca.test; policy=ev')], true],
    ['a semicolon at its end', [property('issue', 'ca.test;')], true],
    ['a malformed parameter', [property('issue', 'ca.test; accounturi')], false],
    ['a parameter with a space', [property('issue', 'ca.test; policy=a b')], false],
    [
      'a parameter that stands twice',
      [property('issue', `ca.test; accounturi=${ask.accountUri}; accounturi=x`)],
      false,
    ],
  ];
  for (const [name, properties, expected, more] of cases)
    it(`${expected ? 'allows' : 'forbids'} to issue where it names ${name}`, () => {
      assert.equal(allows(properties, more), expected);
    });

  const checked = async (zones: Readonly<Record<string, readonly CaaProperty[] | 'SERVFAIL'>>) => {
    const asked: string[] = [];
    const outcome = await checkCaa(
      ask,
      {
        identities: ours,
        propertiesAt: (name) => {
          asked.push(name);
          const value = zones[name] ?? [];
          return Promise.resolve(
            value === 'SERVFAIL' ? invalid('dns', 'SERVFAIL') : { ok: true, value },
          );
        },
      },
      AbortSignal.timeout(1000),
    );
    return { asked, outcome: outcome.ok ? 'allowed' : outcome.failure.type };
  };

  it('is decided by the closest name that has some', async () => {
    assert.deepEqual(
      await checked({
        'b.example': [property('issue', 'ca.test')],
        example: [property('issue', ';')],
      }),
      { asked: ['a.b.example', 'b.example'], outcome: 'allowed' },
    );
    assert.equal((await checked({ 'b.example': [property('issue', ';')] })).outcome, 'caa');
  });

  it('allows everything where no name has any', async () => {
    assert.deepEqual(await checked({}), {
      asked: ['a.b.example', 'b.example', 'example'],
      outcome: 'allowed',
    });
  });

  it('forbids to issue where a lookup fails', async () => {
    assert.equal((await checked({ 'b.example': 'SERVFAIL' })).outcome, 'dns');
  });
});

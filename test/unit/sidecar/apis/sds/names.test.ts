import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import {
  allowedNames,
  everyName,
  grantedSecret,
  parseSecretName,
  type CallerRights,
  type GrantedSecret,
} from '../../../../../sidecar/apis/sds/names.ts';
import { bundleOf, entryOf } from '../../../../support/local-server-fakes.ts';

const names = { defaultSvid: 'default', ownBundle: 'ROOTCA', allBundles: 'ALL' };
const validation = { names, spiffeValidator: true };
const plain = { names, spiffeValidator: false };

const identity = (name: string) => {
  const entry = entryOf(name, `spiffe://td.test/${name}`, []);
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};
const own = bundleOf('td.test');
const others = new Map(['a.test', 'b.test'].map((name) => [name, bundleOf(name)]));

const rights = (change: Partial<CallerRights> = {}): CallerRights => ({
  identities: [identity('web'), identity('db')],
  own,
  federated: others,
  ...change,
});

/** The ID of what is granted, or the names of the trust domains. */
const granted = (name: string, change: Partial<CallerRights> = {}): string => {
  const secret = grantedSecret(unwrap(parseSecretName(name, validation)), rights(change));
  return secret === undefined ? 'nothing' : text(secret);
};
const text = (secret: GrantedSecret): string =>
  secret.kind === 'svid'
    ? secret.identity.spiffeId.toString()
    : secret.bundles.map(({ trustDomain }) => trustDomain.name).join();

test('names that no entry can ever grant are refused, each with its reason', () => {
  const cases: Readonly<Record<string, RegExp>> = {
    'spiffe://td.test/meshca/server': /ID of the CA itself/,
    'spiffe://td.test/meshca': /ID of the CA itself/,
    'spiffe://td.test/meshca/agent/n1': /ID of the CA itself/,
    'spiffe://td.test/a//b': /none of default, ROOTCA, ALL/,
    'spiffe://td.test/': /none of/,
    'spiffe://TD.test/a': /none of/,
    rootca: /none of/,
    'file-other:x': /none of/,
  };
  for (const [name, reason] of Object.entries(cases)) {
    const parsed = parseSecretName(name, validation);
    assert.ok(!parsed.ok && parsed.error.code === 'SECRET_NAME_INVALID', name);
    assert.match(parsed.error.message, reason);
  }
});

test('all bundles without the SPIFFE validator are refused: roots would count for each other', () => {
  const refused = parseSecretName('ALL', plain);
  assert.ok(!refused.ok);
  assert.match(refused.error.message, /would validate names of the others/);
  assert.match(refused.error.next, /sds\.spiffeValidator/);
  assert.equal(unwrap(parseSecretName('ROOTCA', plain)).kind, 'bundle');
});

test('the names for the default and the bundles are those of the configuration', () => {
  const other = {
    names: { defaultSvid: 'me', ownBundle: 'us', allBundles: 'everybody' },
    spiffeValidator: true,
  };
  assert.equal(unwrap(parseSecretName('me', other)).kind, 'default');
  assert.equal(unwrap(parseSecretName('everybody', other)).kind, 'all bundles');
  assert.ok(!parseSecretName('default', other).ok);
});

test('a caller gets its own identities alone, and nothing without one', () => {
  assert.equal(granted('spiffe://td.test/db'), 'spiffe://td.test/db');
  assert.equal(granted('spiffe://td.test/other'), 'nothing');
  assert.equal(granted('spiffe://a.test/web'), 'nothing');
  for (const name of ['default', 'ROOTCA', 'ALL', 'spiffe://td.test', 'spiffe://td.test/web'])
    assert.equal(granted(name, { identities: [] }), 'nothing', name);
});

test('bundles are of one trust domain, or of all with the own one first', () => {
  assert.equal(granted('ROOTCA'), 'td.test');
  assert.equal(granted('spiffe://td.test'), 'td.test');
  assert.equal(granted('spiffe://b.test'), 'b.test');
  assert.equal(granted('spiffe://c.test'), 'nothing');
  assert.equal(granted('ALL'), 'td.test,a.test,b.test');
  const empty = { ...bundleOf('a.test'), rootsDer: [] };
  const federated = new Map([['a.test', empty]]);
  assert.equal(granted('ALL', { federated }), 'td.test', 'Envoy refuses a bundle without root');
  assert.equal(granted('spiffe://a.test', { federated }), 'nothing');
});

test('the default is the first identity of the caller', () => {
  assert.equal(granted('default'), 'spiffe://td.test/web');
  assert.equal(granted('default', { identities: [identity('db')] }), 'spiffe://td.test/db');
});

test('names of files of Istio’s agent are known, and never granted', () => {
  for (const name of ['file-cert:/etc/a~/etc/b', 'file-root:/etc/ca.pem', 'file-root:system'])
    assert.equal(granted(name), 'nothing');
  assert.ok(parseSecretName(`file-cert:/${'a'.repeat(500)}`, validation).ok);
  const long = parseSecretName(`file-cert:/${'é'.repeat(300)}`, validation);
  assert.ok(!long.ok && long.error.code === 'SECRET_NAME_INVALID');
  assert.match(long.error.message, /at most 512 bytes/);
});

test('a caller is told its own names alone, in a text that fits into trailers', () => {
  assert.equal(
    allowedNames(rights(), validation),
    'default, ROOTCA, ALL, spiffe://td.test/web, spiffe://td.test/db, spiffe://td.test, ' +
      'spiffe://a.test, spiffe://b.test',
  );
  assert.doesNotMatch(allowedNames(rights(), plain), /ALL/);
  const many = Array.from({ length: 500 }, (_, index) => identity(`service-${index}`));
  const listed = allowedNames(rights({ identities: many }), validation);
  assert.ok(listed.length < 1_300);
  assert.match(listed, / and \d+ more$/);
  assert.deepEqual(everyName(rights({ identities: [] })), []);
});

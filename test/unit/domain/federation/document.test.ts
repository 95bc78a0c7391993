import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import test from 'node:test';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  checkRelationship,
  ownDocument,
  parseForeignDocument,
  pollSeconds,
  type RelationshipInput,
} from '../../../../src/domain/index.ts';
import { bundleDocumentOf, foreignRoot, newJwtKey } from '../../../support/bundle-endpoint.ts';
import { documentWith, strangeRoots } from '../../../support/strange-roots.ts';
import { createSvid } from '../../../support/test-pki.ts';

const root = foreignRoot('partner.test');
const good = JSON.parse(
  bundleDocumentOf({ roots: [root], sequence: 3, jwtKeys: { k1: newJwtKey() } }),
) as { keys: Record<string, unknown>[] } & Record<string, unknown>;
const [x509, jwt] = good.keys as [Record<string, unknown>, Record<string, unknown>];

const parse = (document: unknown): ReturnType<typeof parseForeignDocument> =>
  parseForeignDocument(Buffer.from(JSON.stringify(document)));
const jwk = (type: 'rsa' | 'ed25519', bits = 1_024): object =>
  (type === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: bits })
    : generateKeyPairSync('ed25519')
  ).publicKey.export({ format: 'jwk' });

test('a document is read to its keys, and what agents get is the same again', () => {
  const parsed = parse(good);
  assert.ok(parsed.ok);
  assert.deepEqual(
    [parsed.value.sequence, parsed.value.refreshHintSeconds, parsed.value.roots],
    [3, 60, [root.certificateDer.toString('base64')]],
  );
  const again = parseForeignDocument(Buffer.from(ownDocument(parsed.value).document));
  assert.ok(again.ok);
  const { documentSha256: _, ...keys } = parsed.value;
  const { documentSha256: __, ...keysAgain } = again.value;
  assert.deepEqual(keysAgain, keys);
});

test('keys of unknown uses and types are left out, an empty bundle and one without numbers count', () => {
  const other = [
    { kty: 'EC', use: 'other' },
    { kty: 'EC' },
    { ...jwk('ed25519'), use: 'jwt-svid' },
  ];
  const parsed = parse({ ...good, keys: [...other, x509, x509, jwt, jwt] });
  assert.ok(parsed.ok);
  assert.deepEqual([parsed.value.roots.length, parsed.value.jwtKeys.length], [1, 1]);
  const empty = parse({ keys: [] });
  assert.ok(empty.ok);
  assert.deepEqual([empty.value.sequence, empty.value.refreshHintSeconds], [0, 0]);
});

test('whatever is not as the specification says fails the whole document', () => {
  const leaf = createSvid(root, 'spiffe://partner.test/x').chainDer[0]?.toString('base64');
  const stranger = foreignRoot('partner.test').certificateDer.toString('base64');
  const broken: readonly unknown[] = [
    [],
    null,
    {},
    { keys: {} },
    { keys: [7] },
    { ...good, spiffe_sequence: -1 },
    { ...good, spiffe_sequence: 1.5 },
    { ...good, spiffe_sequence: '3' },
    { ...good, spiffe_refresh_hint: -1 },
    { keys: Array.from({ length: 101 }, () => x509) },
    { keys: [{ ...x509, x5c: [] }] },
    { keys: [{ ...x509, x5c: [...(x509['x5c'] as string[]), stranger] }] },
    { keys: [{ ...x509, x5c: ['AAAA'] }] },
    { keys: [{ ...x509, x5c: [leaf] }] },
    { keys: [{ ...x509, x5c: [stranger] }] },
    { keys: [{ ...x509, d: 'AAAA' }] },
    { keys: [{ ...jwt, d: 'AAAA' }] },
    { keys: [{ ...jwt, kid: '' }] },
    { keys: [{ ...jwt, kid: 'k'.repeat(257) }] },
    { keys: [{ ...jwt, x: 'AAAA' }] },
    { keys: [{ ...jwk('rsa'), use: 'jwt-svid', kid: 'small' }] },
    { keys: [jwt, { ...newJwtKey().export({ format: 'jwk' }), use: 'jwt-svid', kid: 'k1' }] },
  ];
  for (const document of broken) {
    const parsed = parse(document);
    assert.equal(parsed.ok ? 'ok' : parsed.error.code, 'FEDERATION_BUNDLE_INVALID');
  }
  for (const bytes of [Buffer.from('{'), Buffer.from([0xff]), Buffer.alloc(256 * 1024 + 1, ' ')])
    assert.equal(parseForeignDocument(bytes).ok, false);
});

test('a root that strict libraries refuse fails the document, and one of an unknown kind is left out', () => {
  for (const { name, der, verdict } of strangeRoots()) {
    const parsed = parseForeignDocument(Buffer.from(documentWith([root.certificateDer, der])));
    if (verdict === 'refused') {
      assert.equal(parsed.ok ? 'ok' : parsed.error.code, 'FEDERATION_BUNDLE_INVALID', name);
      continue;
    }
    assert.ok(parsed.ok, name);
    const isTaken = verdict === 'taken';
    assert.deepEqual(
      [parsed.value.roots.length, parsed.value.leftOut.length],
      isTaken ? [2, 0] : [1, 1],
      name,
    );
    // what agents get can be written and read, also with a root of an earlier release
    const roots = [root.certificateDer, der].map((each) => each.toString('base64'));
    const again = parseForeignDocument(
      Buffer.from(ownDocument({ ...parsed.value, roots }).document),
    );
    assert.equal(again.ok && again.value.roots.length, isTaken ? 2 : 1, name);
  }
});

test('what JSON allows twice, deeply or as huge numbers misleads nobody', () => {
  const text = JSON.stringify(good);
  const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const verdictOf = (bytes: string): string => {
    const parsed = parseForeignDocument(Buffer.from(bytes));
    return parsed.ok ? `${parsed.value.sequence} ${parsed.value.refreshHintSeconds}` : 'refused';
  };
  const more = (member: string): string => `${text.slice(0, -1)},${member}}`;
  const table: readonly (readonly [string, string])[] = [
    [text, '3 60'],
    // the last one counts, and agents get what was judged
    [more('"spiffe_sequence":7'), '7 60'],
    [more('"keys":[]'), '3 60'],
    [more('"keys":7'), 'refused'],
    [more(`"x":${nested(100_000)}`), '3 60'],
    [nested(100_000), 'refused'],
    [more(`"keys":[{"use":"jwt-svid","kty":"RSA","kid":"a","n":${nested(50_000)}}]`), 'refused'],
    [more('"__proto__":{"spiffe_sequence":9}'), '3 60'],
    [more('"spiffe_sequence":9007199254740991'), '9007199254740991 60'],
    [more('"spiffe_sequence":9007199254740992'), 'refused'],
    [more('"spiffe_sequence":18446744073709551615'), 'refused'],
    [more('"spiffe_sequence":1e400'), 'refused'],
    [more('"spiffe_sequence":-0'), '0 60'],
    [more('"spiffe_refresh_hint":0'), '3 0'],
    [more('"spiffe_refresh_hint":1e300'), 'refused'],
    [more('"spiffe_refresh_hint":9007199254740991'), '3 9007199254740991'],
  ];
  for (const [bytes, verdict] of table) assert.equal(verdictOf(bytes), verdict, bytes.slice(-60));
});

test('a JWT key is its public key alone: what it says of algorithms counts nothing, and secrets fail', () => {
  const withKey = (key: object): ReturnType<typeof parse> => parse({ ...good, keys: [x509, key] });
  const none = withKey({ ...jwt, alg: 'none', x5c: ['AAAA'] });
  assert.ok(none.ok);
  assert.doesNotMatch(ownDocument(none.value).document, /"alg"|AAAA/);
  const secret = { kty: 'oct', k: 'AAAA', use: 'jwt-svid', kid: 'k1', alg: 'HS256' };
  assert.equal(withKey(secret).ok, false);
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const rsaKey = { ...publicKey.export({ format: 'jwk' }), use: 'jwt-svid', kid: 'r' };
  assert.equal(withKey(rsaKey).ok, true);
  assert.equal(withKey({ ...rsaKey, e: 'AQ' }).ok, false, 'the exponent 1');
});

test('a relationship is checked: trust domain, URL, and what fits its profile', () => {
  const web: RelationshipInput = {
    trustDomain: 'partner.test',
    endpointUrl: 'https://partner.test/bundle',
    endpointProfile: 'https_web',
    endpointSpiffeId: '',
    webRoots: [],
  };
  const spiffe: RelationshipInput = {
    ...web,
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: 'spiffe://hub.test/server',
  };
  const codeOf = (input: RelationshipInput): string => {
    try {
      checkRelationship(input, TrustDomain.of('mesh.test'));
      return 'ok';
    } catch (thrown) {
      return (thrown as { readonly code: string }).code;
    }
  };
  const webRoots = [root.certificateDer.toString('base64')];
  const table: readonly (readonly [string, RelationshipInput])[] = [
    ['ok', web],
    ['ok', spiffe],
    ['ok', { ...web, webRoots }],
    ['INVALID_REQUEST', { ...web, trustDomain: 'mesh.test' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'Partner.test' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'MESH.TEST' }],
    // the first letter is Cyrillic
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: '\u043cesh.test' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'xn--mesh.test/' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'mesh.test:8443' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'mesh.test\u0000' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: ' mesh.test' }],
    ['INVALID_REQUEST', { ...web, trustDomain: 'spiffe://mesh.test' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: 'mesh.test.' }],
    ['TRUST_DOMAIN_INVALID', { ...web, trustDomain: '..' }],
    ['INVALID_REQUEST', { ...web, endpointUrl: 'http://partner.test/' }],
    ['INVALID_REQUEST', { ...web, endpointUrl: 'https://me@partner.test/' }],
    ['INVALID_REQUEST', { ...web, endpointUrl: 'https://partner.test/#x' }],
    ['INVALID_REQUEST', { ...web, endpointUrl: 'partner.test' }],
    ['INVALID_REQUEST', { ...web, endpointSpiffeId: spiffe.endpointSpiffeId }],
    ['INVALID_REQUEST', { ...spiffe, webRoots }],
    ['INVALID_REQUEST', { ...web, webRoots: ['AAAA'] }],
    ['SPIFFE_ID_INVALID', { ...spiffe, endpointSpiffeId: 'spiffe://hub.test' }],
    ['SPIFFE_ID_INVALID', { ...spiffe, endpointSpiffeId: '' }],
  ];
  for (const [code, input] of table) assert.equal(codeOf(input), code, JSON.stringify(input));
});

test('an endpoint is asked at the hint of its bundle, within the limits', () => {
  const limits = { minimumSeconds: 10, maximumSeconds: 3_600 };
  const asked = [0, 1, 60, 86_400].map((hint) => pollSeconds(hint, limits));
  assert.deepEqual(asked, [300, 10, 60, 3_600]);
});

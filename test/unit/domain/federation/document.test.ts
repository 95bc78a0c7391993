import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import test from 'node:test';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  checkRelationship,
  foreignDocument,
  parseForeignDocument,
  pollSeconds,
  type RelationshipInput,
} from '../../../../src/domain/index.ts';
import { bundleDocumentOf, foreignRoot, newJwtKey } from '../../../support/bundle-endpoint.ts';
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
  const again = parseForeignDocument(Buffer.from(foreignDocument(parsed.value)));
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

import assert from 'node:assert/strict';
import test from 'node:test';
import { tokensContradiction, tokensSchema } from '../../../../src/services/tokens/index.ts';

const problem = (...issuers: readonly object[]): string | undefined =>
  tokensContradiction(
    tokensSchema.parse({
      issuers: issuers.map((issuer, index) => ({
        name: `i${index}`,
        type: 'oidc',
        issuer: `https://i${index}.example`,
        audiences: ['meshca'],
        ...issuer,
      })),
    }),
  );

test('issuers with https, and clusters that share an issuer under different names, are accepted', () => {
  const cluster = { type: 'kubernetes', issuer: 'https://kubernetes.default.svc' };
  assert.equal(problem({}, {}, cluster, cluster), undefined);
  assert.equal(
    problem({
      ...cluster,
      purposes: ['istio', 'linkerd', 'node'],
      review: { apiUrl: 'https://k8s' },
    }),
    undefined,
  );
  assert.equal(problem({ issuer: 'http://127.0.0.1:8', allowHttp: true }), undefined);
  // an issuer whose keys come from a file is never asked
  assert.equal(problem({ issuer: 'any text', keys: { file: '/keys' } }), undefined);
});

test('contradictions in the issuers of tokens name the key', () => {
  const cases: readonly [readonly object[], RegExp][] = [
    [[{ name: 'a' }, { name: 'a' }], /issuers\.1\.name \(a\) is that of another/],
    [[{ issuer: 'https://x' }, { issuer: 'https://x' }], /issuers\.1\.issuer .* stated twice/],
    [[{ issuer: 'http://x' }], /issuers\.0\.issuer .* is not https/],
    [[{ issuer: 'http://x', allowHttp: true }], /is not https/],
    [[{ issuer: 'http://127.0.0.1' }], /is not https/],
    [[{ issuer: 'https://me:secret@x' }], /a user name/],
    [[{ issuer: 'x' }], /is no URL/],
    [[{ keys: { url: 'https://x', file: '/x' } }], /both url and file/],
    [[{ keys: { refreshSeconds: 600, keepSeconds: 60 } }], /keepSeconds \(60\) is below/],
    [[{ keys: { tokenFile: '/x' } }], /keys\.tokenFile needs keys\.url/],
    [[{ review: { apiUrl: 'https://x' } }], /review is for type kubernetes/],
    [[{ cluster: 'x' }], /cluster is for type kubernetes/],
    [[{ purposes: ['istio'] }], /purposes has istio/],
    [[{ type: 'kubernetes', review: { apiUrl: 'http://x' } }], /review\.apiUrl .* is not https/],
  ];
  for (const [issuers, message] of cases) assert.match(problem(...issuers) ?? '', message);
});

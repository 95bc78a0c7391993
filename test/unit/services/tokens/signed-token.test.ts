import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { tokensSchema } from '../../../../src/services/tokens/index.ts';
import { claimSelectors, registeredClaims } from '../../../../src/services/tokens/claims.ts';
import {
  identityOfClaims,
  identityOfReview,
} from '../../../../src/services/tokens/kubernetes-identity.ts';
import { parseToken } from '../../../../src/services/tokens/signed-token.ts';

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const [issuer] = tokensSchema.parse({
  issuers: [{ name: 'ci', type: 'oidc', issuer: 'https://ci', audiences: ['meshca'] }],
}).issuers;
assert.ok(issuer);

test('whatever text comes as a token, it is refused with a code and never throws', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      const parsed = parseToken(text);
      assert.ok(!parsed.ok && parsed.error.code === 'TOKEN_MALFORMED');
    }),
  );
});

test('whatever the claims of a token are, they are read or refused and never throw', () => {
  const now = 1_800_000_000;
  const claim = fc.oneof(fc.anything(), fc.constant(now), fc.constant(now + 60), fc.string());
  const claims = fc.record(
    {
      sub: claim,
      aud: claim,
      exp: claim,
      iat: claim,
      nbf: claim,
      jti: claim,
      'kubernetes.io': claim,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(claims, fc.dictionary(fc.string(), fc.anything()), (known, others) => {
      const all = { ...others, ...known, iss: 'https://ci' };
      let text: string;
      try {
        text = `${part({ alg: 'RS256' })}.${part(all)}.AAAA`;
      } catch {
        return; // what JSON can not hold is in no token
      }
      const parsed = parseToken(text);
      if (!parsed.ok) return;
      const read = registeredClaims(parsed.value, issuer, now);
      if (read.ok) {
        assert.equal(typeof read.value.subject, 'string');
        assert.ok(read.value.expiresAt + issuer.clockSkewSeconds > now);
        assert.ok(read.value.expiresAt - read.value.issuedAt <= issuer.maximumLifeSeconds);
      }
      for (const { type, value } of claimSelectors(parsed.value.claims)) {
        assert.equal(type, 'oidc');
        // the name ends at the first colon, so that no two claims give one selector
        assert.ok(Object.hasOwn(parsed.value.claims, value.slice(0, value.indexOf(':'))));
      }
      identityOfClaims(parsed.value.claims, 'east');
      identityOfReview(parsed.value.claims as never, 'east');
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, PkiError } from '../../../../src/common/errors/index.ts';
import { createCsr, sha256Hex } from '../../../../src/common/x509/index.ts';
import type { TokenVerifier, VerifiedToken } from '../../../../src/services/tokens/index.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  selector,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const burst = 60;
/** An address may fail so often before it waits behind the others. */
const forgiven = 20;
/** Every text is a token of its own, whose signature is good. The text is the claim `sub`, too. */
const verifier: TokenVerifier = {
  verify: (text) =>
    Promise.resolve(
      ok<VerifiedToken>({
        ...{ issuer: 'ci', purposes: ['acme', 'pipeline'], subject: text, audiences: ['ca'] },
        ...{
          claims: { sub: text },
          jti: text,
          useId: sha256Hex(Buffer.from(text)),
          clockSkewSeconds: 0,
        },
        ...{ issuedAt: 4_000_000_000, expiresAt: 4_000_000_600, kubernetes: undefined },
        selectors: [selector(`oidc:sub:${text}`)],
      }),
    ),
  isIssuer: () => true,
  standings: () => [],
};

async function world(): Promise<ServicesWorld> {
  const w = await createServicesWorld({ attestationRate: { perSecond: 0.001, burst } }, undefined, {
    verifier,
  });
  await w.services.tenants.create(
    local,
    {
      ...{ name: 'shop', description: '', dnsSuffixes: ['shop.test'] },
      ...{ spiffePrefixes: [id('/shop/')], quotaCertificates: 0, quotaSeconds: 0 },
    },
    { dryRun: false },
  );
  for (const subject of ['bare', 'named'])
    await w.addEntry({
      ...{ parentId: id('/meshca/token-issuer/ci'), spiffeId: id(`/shop/${subject}`) },
      selectors: [selector(`oidc:sub:${subject}`)],
    });
  await w.services.delegations.create(local, {
    ...{ clientId: id('/shop/named'), patterns: [], dnsPatterns: ['*.shop.test'], ipRanges: [] },
    ...{ maxTtlSeconds: 3600, keyTypes: ['ec-p256'], wildcards: false, profile: 'short' },
    expiresAt: 0,
  });
  return w;
}

const codeOf = async (act: Promise<unknown>): Promise<string> => {
  try {
    await act;
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};

type Call = (w: ServicesWorld, address: string) => Promise<unknown>;

const peerOf = (address: string) => ({ class: 'anonymous', peer: `${address}:1` }) as const;

const exchange =
  (token: string, name = 'www.shop.test'): Call =>
  ({ services }, address) =>
    services.eabExchange.exchangeToken(peerOf(address), {
      ...{ token, dnsNames: [name], ips: [], profile: '', spiffeId: '' },
    });

const issue =
  (token: string): Call =>
  ({ services }, address) =>
    services.pipelines.issue(peerOf(address), {
      ...{ token, csrDer: createCsr(newKey()), ttlSeconds: 0, spiffeId: '' },
    });

const explain =
  (token: string): Call =>
  ({ services }, address) =>
    services.pipelines.explain(peerOf(address), token);

/** What one address does in a loop, with what first, and how each ends. */
const loops: readonly (readonly [what: string, call: Call, first: string, then: string])[] = [
  ['no entry', exchange('nobody'), 'ENTRY_NOT_AUTHORIZED', 'ENTRY_NOT_AUTHORIZED'],
  ['no delegation', exchange('bare'), 'OUTSIDE_DELEGATION', 'OUTSIDE_DELEGATION'],
  ['another name', exchange('named', 'a.test'), 'OUTSIDE_DELEGATION', 'OUTSIDE_DELEGATION'],
  ['no name', exchange('named', 'a..test'), 'DNS_NAME_INVALID', 'DNS_NAME_INVALID'],
  ['a key again', exchange('named'), 'ok', 'TOKEN_REPLAYED'],
  ['a certificate by no entry', issue('nobody'), 'ENTRY_NOT_AUTHORIZED', 'ENTRY_NOT_AUTHORIZED'],
  ['a certificate again', issue('bare'), 'ok', 'TOKEN_REPLAYED'],
  ['an explanation by no entry', explain('nobody'), 'ok', 'ok'],
];

for (const [what, call, first, then] of loops)
  test(`a good token that leads nowhere leaves others their part of the limit: ${what}`, async () => {
    await using w = await world();
    const ends: string[] = [];
    for (let each = 0; each < 2 * burst; each += 1) ends.push(await codeOf(call(w, '192.0.2.66')));
    assert.deepEqual(ends.slice(0, 2), [first, then]);
    const served = ends.filter((end) => end !== 'RATE_LIMITED').length;
    assert.equal(served, burst / 2, 'a suspect leaves the reserve');
    // with mistakes of his own another one is served from it
    for (let each = 0; each < forgiven; each += 1)
      assert.notEqual(await codeOf(call(w, '192.0.2.7')), 'RATE_LIMITED');
  });

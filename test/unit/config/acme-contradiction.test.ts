import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acmeContradiction } from '../../../src/config/acme-contradiction.ts';
import { acmeSchema } from '../../../src/config/acme-schema.ts';
import type { ServerConfig } from '../../../src/config/index.ts';

type Part = Readonly<Record<string, unknown>>;
const problemOf = (vantage: Part): string | undefined => problemOfValidation({ vantage });
const problemOfValidation = (validation: Part): string | undefined =>
  acmeContradiction({
    acme: acmeSchema.parse({ enabled: true, validation }),
    names: { enabled: true },
    http: { publicBaseUrl: 'https://ca.test', tls: { enabled: true } },
    trustDomain: 'mesh.test',
  } as ServerConfig);

const west = { name: 'west', agentId: 'spiffe://mesh.test/meshca/agent/west' };
const east = { name: 'east', selectors: ['x509pop:subject:cn:east', 'x509pop:ca:1'] };

test('perspectives are named once, by an agent or by selectors, and can reach their quorum', () => {
  for (const good of [
    {},
    { perspectives: [west, east] },
    { perspectives: [west, east], disagreeing: 1 },
    { perspectives: [west, east], agreeing: 2, disagreeing: 1 },
  ])
    assert.equal(problemOf(good), undefined, JSON.stringify(good));
  for (const [bad, why] of [
    [{ perspectives: [west, { ...east, name: 'west' }] }, /the name of another/],
    [{ perspectives: [{ name: 'west' }] }, /agentId or selectors/],
    [{ perspectives: [{ ...east, ...west }] }, /agentId or selectors/],
    [{ perspectives: [{ ...west, agentId: 'spiffe://other.test/agent' }] }, /mesh\.test/],
    [{ perspectives: [{ ...west, agentId: 'west' }] }, /no SPIFFE ID/],
    [{ perspectives: [{ ...east, selectors: ['east'] }] }, /no selector/],
    [{ perspectives: [west, east], disagreeing: 2 }, /take less/],
    [{ perspectives: [west], agreeing: 2 }, /more than the 1/],
  ] as const)
    assert.match(problemOf(bad) ?? '', why, JSON.stringify(bad));
});

test('a perspective has a name that fits a metric', () => {
  for (const name of ['', 'West', '-a', 'a b', 'a'.repeat(33)])
    assert.throws(() => problemOf({ perspectives: [{ ...west, name }] }), name);
});

test('a network has a prefix length', () => {
  for (const key of ['allowedNetworks', 'deniedNetworks']) {
    assert.equal(problemOfValidation({ [key]: ['10.0.0.0/8', '2001:db8::/32'] }), undefined, key);
    for (const wrong of ['10.0.0.1', '2001:db8::1', '10.0.0.0-10.0.0.9', 'all'])
      assert.match(
        problemOfValidation({ [key]: [wrong] }) ?? '',
        /is no network/,
        `${key} ${wrong}`,
      );
  }
});

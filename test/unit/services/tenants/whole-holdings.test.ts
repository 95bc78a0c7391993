import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, type Tenant } from '../../../../src/domain/index.ts';
import {
  alteredHoldings,
  type AlteredHoldingsDependencies,
} from '../../../../src/services/tenants/altered-holdings.ts';
import {
  TenantHoldings,
  type HoldingsDependencies,
} from '../../../../src/services/tenants/tenant-holdings.ts';
import type { PageRequest } from '../../../../src/store/ports/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { listed } from '../../../support/listed.ts';

test('forged records before the true one do not hide whose an altered key is', async () => {
  const created = (tenant: string) =>
    canonicalBytes({
      ...{ timeMs: 1, actor: 'server', kind: 'eab-key.created', subject: 'k1' },
      detail: { tenant },
    });
  const forged = Array.from({ length: 1001 }, (_, sequence) => ({
    sequence,
    canonical: created('bank'),
  }));
  const records = [...forged, { sequence: 5000, canonical: created('shop') }];
  const dependencies = {
    acme: { eabKeys: { altered: async () => ['k1'] }, accounts: { altered: async () => [] } },
    audit: { list: async (_filter: object, page: PageRequest) => listed(records, page) },
    facts: { holds: async (sequence: number) => sequence === 5000 },
  } as unknown as AlteredHoldingsDependencies;
  assert.deepEqual(await alteredHoldings(dependencies, 'shop'), [{ kind: 'eab-key', id: 'k1' }]);
  assert.deepEqual(await alteredHoldings(dependencies, 'bank'), []);
});

test('a report on a tenant says how many keys and accounts it does not list', async () => {
  const keys = Array.from({ length: 1203 }, (_, at) => ({ id: `k${at}` }));
  const accounts = Array.from({ length: 200 }, (_, at) => ({ id: `a${at}` }));
  const store = (items: readonly object[]) => ({
    list: async (_filter: object, page: PageRequest) => listed(items, page),
  });
  const holdings = new TenantHoldings({
    acme: { eabKeys: store(keys), accounts: store(accounts) },
    certificates: { countLive: async () => 0, lastNotAfter: async () => 0 },
    clock: new FakeClock(0),
  } as unknown as HoldingsDependencies);
  const report = await holdings.of({
    name: 'shop',
    spiffePrefixes: [] as string[],
  } as unknown as Tenant);
  assert.deepEqual(
    [report.eabKeys.length, report.moreEabKeys, report.accounts.length, report.moreAccounts],
    [200, 1003, 200, 0],
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';
import type { Delegation, RegistrationEntry } from '../../../../src/domain/index.ts';
import { warnOfReservedNames } from '../../../../src/services/registration/older-names.ts';

const istiod = 'istiod.istio-system.svc';

/** The warnings about these rows; each list comes in pages of one. */
async function warnings(
  entries: readonly Partial<RegistrationEntry>[],
  delegations: readonly Partial<Delegation>[],
): Promise<readonly object[]> {
  const lines: object[] = [];
  const logger: Logger = { ...silentLogger, warn: (fields) => lines.push(fields) };
  const paged =
    <T>(items: readonly T[]) =>
    async (_filter: object, { after }: { readonly after?: string }) => {
      const index = Number(after ?? 0);
      return {
        items: items.slice(index, index + 1),
        next: index + 1 < items.length ? String(index + 1) : undefined,
      };
    };
  await warnOfReservedNames(
    {
      entries: { list: paged(entries) as never },
      delegations: { list: paged(delegations) as never },
    },
    ['localhost', 'Istiod.Istio-System.svc', '*.serviceaccount.identity.linkerd.cluster.local'],
    logger,
  );
  return lines;
}

test('entries and delegations with a name that became reserved are named at the start', async () => {
  const [line, ...more] = await warnings(
    [
      { id: 'e1', dnsNames: ['web.shop.svc'] },
      { id: 'e2', dnsNames: ['web.shop.svc', istiod] },
      { id: 'e3', dnsNames: ['web.shop.serviceaccount.identity.linkerd.cluster.local'] },
    ],
    [
      { id: 'd1', dnsPatterns: [istiod] },
      { id: 'd2', dnsPatterns: ['*.shop.svc'] },
    ],
  );
  assert.equal(more.length, 0);
  assert.partialDeepStrictEqual(line, {
    code: 'DNS_NAME_RESERVED',
    count: 3,
    entries: ['e2', 'e3'],
    delegations: ['d1'],
  });
});

test('a start without such entries and delegations says nothing', async () => {
  assert.deepEqual(await warnings([{ id: 'e1', dnsNames: ['web.shop.svc'] }], []), []);
});

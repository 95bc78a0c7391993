import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, type AuditEvent } from '../../../../src/domain/index.ts';
import {
  confirmedEvent,
  pollRecord,
  staleEvent,
} from '../../../../src/services/federation/poll-records.ts';
import type { AuditFilter, PageRequest } from '../../../../src/store/ports/index.ts';
import { listed } from '../../../support/listed.ts';

const own = { trustDomain: 'partner.test', relationshipId: 'r2' };
const earlier = { ...own, relationshipId: 'r1' };
const other: AuditEvent = {
  ...{ timeMs: 1, actor: 'server', kind: 'federation.bundle-refused' },
  ...{ subject: 'spiffe://partner.test', detail: {} },
};

/** What is read of these events, the newest last, as a store gives it. */
function readOf(events: readonly AuditEvent[]) {
  const records = events
    .map((event, sequence) => ({ ...event, sequence, canonical: canonicalBytes(event) }))
    .toReversed();
  const audit = {
    list: async ({ kind }: AuditFilter, page: PageRequest) =>
      listed(
        records.filter((record) => kind === undefined || record.kind === kind),
        page,
      ),
  };
  return pollRecord(audit as unknown as Parameters<typeof pollRecord>[0], own, undefined);
}

test('the last poll on record is found behind any number of other records', async () => {
  const confirmed = confirmedEvent(own, 5_000);
  const others = Array.from({ length: 150 }, () => other);
  const earlierOnes = Array.from({ length: 150 }, () => confirmedEvent(earlier, 9_000));
  for (const after of [others, earlierOnes]) {
    const record = await readOf([confirmed, ...after]);
    assert.deepEqual([record.refreshedAt, record.stale], [5, false]);
  }
});

test('of a confirmation and a stale bundle the later record counts', async () => {
  const confirmed = confirmedEvent(own, 5_000);
  const stale = staleEvent(own, 4, 6_000);
  assert.equal((await readOf([confirmed, stale])).stale, true);
  assert.equal((await readOf([stale, confirmed])).stale, false);
});

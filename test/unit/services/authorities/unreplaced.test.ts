import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Authority } from '../../../../src/domain/index.ts';
import { inUse, unreplacedReport } from '../../../../src/services/authorities/unreplaced.ts';
import type { UnreplacedRow } from '../../../../src/store/ports/index.ts';

const authority = (id: string, parentId: string | null): Authority =>
  ({ id, parentId }) as unknown as Authority;
const row = (over: Partial<UnreplacedRow>): UnreplacedRow => ({
  entryId: null,
  delegationId: null,
  requester: 'uid:0',
  subject: 'dns:a.test',
  notAfter: 100,
  ...over,
});

test('unreplaced certificates are counted by owner, over an authority and all below it', async () => {
  const rows: Readonly<Record<string, readonly UnreplacedRow[]>> = {
    root: [],
    one: [
      row({ delegationId: 'd', requester: 'acme', notAfter: 110 }),
      row({ delegationId: 'd', requester: 'acme', notAfter: 120, subject: 'dns:b.test' }),
    ],
    two: [row({ entryId: 'e' }), row({ delegationId: 'd', requester: 'acme', notAfter: 130 })],
    other: [row({})],
  };
  const asked: string[] = [];
  const report = await unreplacedReport(
    authority('root', null),
    [
      authority('root', null),
      authority('one', 'root'),
      authority('two', 'root'),
      authority('other', null),
    ],
    {
      since: 90,
      rotations: {
        unreplaced: async (id, since, { after }) => {
          asked.push(`${id} ${since} ${after ?? ''}`);
          const at = Number(after ?? 0);
          const items = (rows[id] ?? []).slice(at, at + 1);
          const next = at + 1 < (rows[id]?.length ?? 0) ? String(at + 1) : undefined;
          return { items, next };
        },
      },
    },
  );
  assert.deepEqual(asked, ['root 90 ', 'one 90 ', 'one 90 1', 'two 90 ', 'two 90 1']);
  assert.deepEqual(report, {
    owners: [
      {
        entryId: '',
        delegationId: 'd',
        requester: 'acme',
        certificates: 3,
        until: 130,
        subject: 'dns:a.test',
      },
      {
        entryId: 'e',
        delegationId: '',
        requester: 'uid:0',
        certificates: 1,
        until: 100,
        subject: 'dns:a.test',
      },
    ],
    ownersTotal: 2,
    certificates: 4,
    until: 130,
  });
  const counts = { live: 4, liveUnreported: 4, lastExpiry: 130 };
  const refusal = inUse({ id: 'root' }, counts, report);
  assert.equal(refusal.code, 'AUTHORITY_IN_USE');
  assert.match(refusal.message, /delegation d \(acme\): 3, entry e: 1$/);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IssuedLeaves } from '../../../src/ledger/issued-leaves.ts';
import { ledgerRotations } from '../../../src/ledger/rotations.ts';
import type { RotationStore } from '../../../src/store/ports/index.ts';

const now = 1_800_000_000;

/** What is said of one authority: by the rows, and by the log. */
function signedBy(rows: { readonly live: number }, log: { unreported: number; live: boolean }) {
  const looks: string[] = [];
  const ledger = ledgerRotations(
    {
      signedBy: async () => new Map([['a1', { lastExpiry: now, liveUnreported: 0, ...rows }]]),
    } as unknown as RotationStore,
    {
      authorities: () => new Set(['a1']),
      lastOf: () => now + 600,
      liveUnreported: () => log.unreported,
      isLive: (id: string) => {
        looks.push(id);
        return log.live;
      },
    } as unknown as IssuedLeaves,
    ...([{}, {}] as unknown as [never, never]),
  );
  return { looks, facts: async () => (await ledger.signedBy(now, 60)).get('a1') };
}

test('the leaves of an authority are looked through only where none is known to be live', async () => {
  for (const [rows, log, live, looked] of [
    [{ live: 2 }, { unreported: 0, live: false }, 2, 0],
    [{ live: 0 }, { unreported: 3, live: false }, 3, 0],
    [{ live: 0 }, { unreported: 0, live: true }, 1, 1],
    [{ live: 0 }, { unreported: 0, live: false }, 0, 1],
  ] as const) {
    const { looks, facts } = signedBy(rows, log);
    assert.deepEqual(await facts(), {
      ...{ lastExpiry: now + 600, live, liveUnreported: log.unreported },
    });
    assert.equal(looks.length, looked);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { Lease } from '../../../src/store/ports/index.ts';
import {
  mayFinish,
  activeAuthority,
  agentId,
  code,
  event,
  intent,
  issued,
  start,
  type OpenStore,
} from './fixtures.ts';

const held = async (store: Ledger, name = 'pruning'): Promise<Lease> => {
  const lease = await store.leases.acquire(name, 'me', start * 1000, 86_400_000);
  assert.ok(lease !== undefined);
  return lease;
};

const note = (size: number, signatures = 1): string =>
  `log\n${size}\nroot\n\n${'\u2014 log AAAAAAAA\n'.repeat(signatures)}`;

/** Grows the tree by one record and its checkpoint. */
async function checkpoint(
  store: Ledger,
  lease: Lease,
  { size, timeMs, signatures }: Readonly<Record<'size' | 'timeMs' | 'signatures', number>>,
): Promise<void> {
  await store.audit.append([event('a.b')]);
  const pending = await store.log.pending(100);
  const sequences = pending.map(({ sequence }) => sequence);
  const from = (await store.log.head()).size;
  await store.log.extend(
    {
      fromSize: from,
      taken: sequences,
      excluded: [],
      sequence: sequences.at(-1) ?? 0,
      tiles: [],
      checkpoint: { size, root: Buffer.alloc(32), note: note(size, signatures), timeMs },
    },
    lease,
  );
}

export function retentionCases(name: string, open: OpenStore): void {
  test(`${name}: expired certificates leave oldest first in batches; valid ones and authorities stay`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const lease = await held(store);
    const old = [
      await issued(store, authorityId, { notAfter: start - 300 }),
      await issued(store, authorityId, { notAfter: start - 200 }),
    ];
    const refused = intent({ authorityId, notAfter: start - 250 });
    await store.issuance.recordIntents([refused]);
    await store.issuance.finish([
      {
        kind: 'refused',
        serial: refused.serial,
        code: 'CSR_SIGNATURE_INVALID',
        event: event('certificate.refused'),
      },
    ]);
    const root = await issued(store, authorityId, { kind: 'authority', notAfter: start - 400 });
    const live = await issued(store, authorityId, { notAfter: start + 100 });
    const edge = await issued(store, authorityId, { notAfter: start - 100 });
    const before = await store.certificates.countByState();
    assert.equal(await store.retention.pruneCertificates(start - 100, 2, lease), 2);
    assert.equal(await store.certificates.bySerial(old[0]?.serial as string), undefined);
    assert.ok(
      await store.certificates.bySerial(old[1]?.serial as string),
      'the younger one waits for the next batch',
    );
    assert.equal(await store.retention.pruneCertificates(start - 100, 2, lease), 1);
    assert.equal(await store.retention.pruneCertificates(start - 100, 2, lease), 0);
    for (const kept of [root, live, edge])
      assert.ok(await store.certificates.bySerial(kept.serial));
    assert.deepEqual(await store.certificates.countByState(), {
      ...before,
      issued: before.issued - 2,
      refused: before.refused - 1,
    });
    const records = await store.audit.list({ kind: 'certificate.issued' }, { size: 100 });
    assert.equal(records.items.length, 4, 'the log keeps every leaf');
  });

  test(`${name}: expired tokens leave, and nothing is removed under an old fence`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const token = (expiresAt: number) => ({
      jti: uuidv7(),
      subject: 'spiffe://example.org/web',
      audience: ['a'],
      issuedAt: start - 500,
      expiresAt,
      authorityId,
      entryId: 'e',
      holder: agentId,
      rights: [mayFinish(authorityId)],
      event: event('jwt.issued'),
    });
    await store.issuance.recordJwtSvids([token(start - 10), token(start - 20), token(start + 10)]);
    const lease = await held(store);
    await issued(store, authorityId, { notAfter: start - 300 });
    await store.leases.release(lease);
    const next = await store.leases.acquire('pruning', 'other', start * 1000, 86_400_000);
    assert.ok(next !== undefined);
    await assert.rejects(store.retention.pruneCertificates(start, 10, lease), code('LEASE_LOST'));
    await assert.rejects(store.retention.pruneJwtSvids(start, 10, lease), code('LEASE_LOST'));
    await assert.rejects(
      store.retention.pruneCheckpoints({ timeMs: 0, everyMs: 1 }, 0, 10, lease),
      code('LEASE_LOST'),
    );
    assert.equal(await store.retention.pruneJwtSvids(start, 10, next), 2);
    assert.equal(await store.retention.pruneJwtSvids(start, 10, next), 0);
    assert.equal(await store.retention.pruneCertificates(start, 10, next), 1);
  });

  test(`${name}: old checkpoints thin out to the last of a period; new and cosigned ones stay`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [lease, log] = [await held(store), await held(store, 'audit-log')];
    const hour = 3_600_000;
    const at = (hours: number, minute: number): number => hours * hour + minute * 60_000;
    for (const [index, [timeMs, signatures]] of (
      [
        [at(1, 0), 1],
        [at(1, 10), 2],
        [at(1, 20), 1],
        [at(1, 30), 1],
        [at(2, 0), 1],
        [at(2, 1), 1],
        [at(3, 0), 1],
        [at(3, 1), 1],
      ] as const
    ).entries())
      await checkpoint(store, log, { size: index + 1, timeMs, signatures });
    let removed = 0;
    for (let after: number | undefined = 0; after !== undefined; ) {
      const step: { readonly removed: number; readonly next: number | undefined } =
        await store.retention.pruneCheckpoints(
          { timeMs: at(3, 0), everyMs: hour },
          after,
          3,
          lease,
        );
      removed += step.removed;
      after = step.next;
    }
    assert.deepEqual(
      (await store.log.checkpoints(0, 100)).map(({ size }) => size),
      [2, 4, 6, 7, 8],
    );
    assert.equal(removed, 3);
    assert.deepEqual(
      await store.retention.pruneCheckpoints(
        { timeMs: at(100, 0), everyMs: 1000 * hour },
        0,
        100,
        lease,
      ),
      { removed: 3, next: undefined },
    );
    assert.equal((await store.log.latestCheckpoint())?.size, 8, 'the newest is never removed');
  });
}

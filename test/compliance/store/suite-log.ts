import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CompactRange, leafHash, TileCollector } from '../../../src/common/tlog/index.ts';
import { canonicalBytes, readCanonical, sealBytes } from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { LogStep } from '../../../src/store/ports/index.ts';
import {
  agentId,
  attested,
  by,
  code,
  creates,
  deletes,
  delegation,
  draft,
  event,
  role,
  start,
  updates,
  type OpenStore,
} from './fixtures.ts';

const day = 86_400_000;

/** Takes everything that is pending into the tree, as the sequencer does. */
async function extend(
  store: Ledger,
  lease: Parameters<Ledger['log']['extend']>[1],
  range = new CompactRange(),
): Promise<LogStep> {
  const pending = await store.log.pending(1000);
  const before = range.size;
  const edge = before === 0 ? undefined : await store.log.tile(0, Math.floor(before / 256));
  const tiles = new TileCollector(() => edge);
  for (const record of pending) range.append(record.leafHash, tiles.add);
  const step: LogStep = {
    fromSize: before,
    taken: pending.map(({ sequence }) => sequence),
    excluded: [],
    sequence: pending.at(-1)?.sequence ?? 0,
    tiles: tiles.changed().map(({ address, hashes }) => ({ ...address, hashes })),
    checkpoint: {
      size: range.size,
      root: range.root(),
      note: `note ${range.size}`,
      timeMs: start * 1000,
    },
  };
  await store.log.extend(step, lease);
  return step;
}

export function logCases(name: string, open: OpenStore): void {
  test(`${name}: a lease has one holder, its fence only grows, and a write under an old fence is refused`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [a, b] = [
      await store.leases.acquire('x', 'a', 1000, 500),
      await store.leases.acquire('x', 'b', 1400, 500),
    ];
    assert.ok(a !== undefined);
    assert.equal(b, undefined, 'held');
    const renewed = await store.leases.renew(a, 1400, 500);
    assert.deepEqual([renewed.fence, renewed.expiresAtMs], [a.fence, 1900]);
    const again = await store.leases.acquire('x', 'a', 1500, 500);
    assert.equal(again?.fence, a.fence, 'its holder keeps the fence');
    const taken = await store.leases.acquire('x', 'b', 2001, 500);
    assert.equal(taken?.fence, a.fence + 1);
    await assert.rejects(store.leases.renew(a, 2100, 500), code('LEASE_LOST'));
    await store.audit.append([event('a.b')]);
    await assert.rejects(extend(store, a), code('LEASE_LOST'));
    assert.equal((await store.log.head()).size, 0);
    await store.leases.release(a);
    assert.equal(
      await store.leases.acquire('x', 'c', 2100, 500),
      undefined,
      'who lost it can not free it',
    );
    await store.leases.release(taken as NonNullable<typeof taken>);
    assert.equal((await store.leases.acquire('x', 'c', 2100, 500))?.fence, a.fence + 2);
    const { store: reopened } = await opened.reopen();
    assert.equal(
      (await reopened.leases.acquire('x', 'd', 2101, 500))?.fence,
      a.fence + 3,
      'the fence outlives the process',
    );
    await reopened.close();
  });

  test(`${name}: the tree grows by pending records, and a reopening names the first wrong record`, async () => {
    await using opened = await open();
    const { store } = opened;
    const lease = await store.leases.acquire('audit-log', 'a', start * 1000, day);
    assert.ok(lease !== undefined);
    await store.audit.append(Array.from({ length: 300 }, (_, index) => event('a.b', `s${index}`)));
    const range = new CompactRange();
    assert.ok((await store.log.pending(1000)).every(({ origin }) => origin.kind === 'own'));
    const first = await extend(store, lease, range);
    await assert.rejects(store.log.extend(first, lease), code('CONFLICT'), 'the same step twice');
    await store.audit.append([event('a.c')]);
    await extend(store, lease, range);
    assert.deepEqual(await store.log.head(), { size: 301, sequence: 301 });
    assert.deepEqual(await store.log.indexesOf([1, 301, 302]), [0, 300, undefined]);
    assert.deepEqual(
      (await store.log.checkpoints(0, 10)).map(({ size }) => size),
      [300, 301],
    );
    assert.equal((await store.log.latestCheckpoint())?.note, 'note 301');
    assert.equal((await store.log.tile(0, 0))?.length, 256 * 32);
    assert.equal((await store.log.tile(0, 1))?.length, 45 * 32);
    assert.equal((await store.log.tile(1, 0))?.length, 32);
    assert.equal(await store.log.firstWrong(), undefined);
    const { store: reopened } = await opened.reopen();
    const computed = reopened.log.recomputed();
    assert.ok(computed.size === 301 && computed.root.equals(range.root()));
    await reopened.close();
  });

  test(`${name}: each commit has one seal over the hashes of its records, without rolled-back ones`, async () => {
    await using opened = await open();
    const { store } = opened;
    const sealed: Buffer[] = [];
    await store.log.beginSession(
      {
        id: 'session',
        spkiDer: Buffer.from('key'),
        signature: Buffer.from('signature'),
        signer: 'log',
        startedAtMs: 1,
      },
      (bytes) => {
        sealed.push(bytes);
        return Buffer.from(`seal ${sealed.length}`);
      },
    );
    const entry = draft();
    const results = await Promise.allSettled([
      store.audit.append([event('a.b', '1')]),
      store.entries.write([creates(entry)], by),
      store.entries.write([creates(entry)], by),
      store.audit.append([event('a.b', '2')]),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    );
    const { items } = await store.audit.list({}, { size: 10 });
    assert.equal(items.length, 3);
    // a slow machine may part the group: whatever the commits were, each has its seal, and together
    // they cover all
    const seal = (firstSequence: number, lastSequence: number): Buffer =>
      sealBytes(
        {
          sessionId: 'session',
          firstSequence,
          lastSequence,
          previousSequence: firstSequence - 1,
        },
        items.slice(firstSequence - 1, lastSequence).map(({ canonical }) => leafHash(canonical)),
      );
    const partings = [
      [seal(1, 3)],
      [seal(1, 1), seal(2, 3)],
      [seal(1, 2), seal(3, 3)],
      [seal(1, 1), seal(2, 2), seal(3, 3)],
    ];
    assert.ok(partings.some((parting) => isDeepStrictEqual(parting, sealed)));
    await store.close();
    const { store: reopened } = await opened.reopen();
    const pending = await reopened.log.pending(10);
    assert.ok(
      pending.length === 3 &&
        pending.every(
          ({ origin, sequence }) =>
            origin.kind === 'sealed' &&
            origin.seal.signature.toString().startsWith('seal ') &&
            origin.seal.firstSequence <= sequence &&
            origin.seal.lastSequence >= sequence,
        ),
    );
    assert.deepEqual(
      (await reopened.log.sessions()).map(({ id }) => id),
      ['session'],
    );
    await reopened.close();
  });

  test(`${name}: the record of a write commits to the row, and what is read is proven by it`, async () => {
    await using opened = await open();
    const { store } = opened;
    const entry = draft();
    await store.entries.write([creates(entry)], by);
    await store.entries.write([updates({ ...entry, hint: 'changed' })], by);
    await store.roles.put(role(), event('role.put', 'auditor'));
    await store.delegations.create(delegation({ id: 'd' }), event('delegation.created'));
    await store.agents.record({
      agent: attested(),
      act: 'attest',
      event: event('agent.attested', agentId),
    });
    const objects = (await store.audit.list({}, { size: 20 })).items.map(
      ({ canonical }) => readCanonical(canonical)?.object,
    );
    assert.deepEqual(
      objects.map((each) => each?.kind),
      ['entry', 'entry', 'role', 'delegation', 'agent', 'agent-line'],
    );
    assert.notEqual(objects[0]?.sha256, objects[1]?.sha256);
    for (const proveAfter of ['writing', 'opening']) {
      const proven = proveAfter === 'writing' ? store : (await opened.reopen()).store;
      const present = <T>(value: T | undefined): T => {
        assert.ok(value !== undefined);
        return value;
      };
      const stored = present(await proven.entries.byId(entry.id));
      assert.ok(proven.objects.prove('entry', stored));
      const [role] = await proven.roles.forMember('spiffe://example.org/alice');
      assert.ok(proven.objects.prove('role', present(role)));
      assert.ok(proven.objects.prove('delegation', present(await proven.delegations.byId('d'))));
      assert.ok(proven.objects.prove('agent', present(await proven.agents.byId(agentId))));
      assert.throws(
        () => proven.objects.require('entry', { ...stored, admin: true }),
        code('OBJECT_NOT_IN_LOG'),
        'a changed copy of what was read is not proven',
      );
      if (proveAfter === 'writing') continue;
      await proven.entries.write([deletes(entry.id)], by);
      const last = (await proven.audit.list({ kind: 'entry.deleted' }, { size: 5 })).items.at(-1);
      assert.equal(
        readCanonical(last?.canonical as Buffer)?.object?.sha256,
        '',
        'a deletion is a record of the object as well',
      );
      await proven.close();
    }
    assert.ok(!canonicalBytes(event('a.b')).includes('"object"'), 'other records are as they were');
  });

  test(`${name}: a backup is a whole database of some moment, and never overwrites`, async () => {
    await using opened = await open();
    const { store } = opened;
    const folder = mkdtempSync(join(tmpdir(), 'meshca-backup-'));
    try {
      await store.audit.append([event('a.b')]);
      const path = join(folder, 'copy.db');
      await store.backup(path);
      await assert.rejects(store.backup(path), code('ALREADY_EXISTS'));
      assert.ok(statSync(path).size > 4096);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { loggedObject, type ClockState } from '../../../src/domain/index.ts';
import { LogBook, type LedgerLog } from '../../../src/ledger/log.ts';
import { emptyMemory, type Memory } from '../../../src/ledger/memory.ts';
import { event, joinToken } from '../../compliance/store/fixtures.ts';
import { FakeClock } from '../../support/agent.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const day = 86_400;
const holder = 'spiffe://example.org/caller';

/** A log whose authority has signed one leaf, which ends in a day. */
class World {
  readonly clock = new FakeClock();
  readonly log = new MemoryLog();
  readonly notAfter = this.clock.now() + day;

  believed(): void {
    this.#said({ standing: 'believed', seconds: 0 }, this.clock.nowMs());
  }

  /** The clock is far ahead, and this is on record. `basisMs`: the time that was believed last. */
  doubted(basisMs: number): void {
    this.#said({ standing: 'jumped', seconds: 30 * day }, basisMs);
  }

  leaf(): void {
    const detail = { holder, authority: 'a', notAfter: this.notAfter, serial: '5a01' };
    this.log.addStatement({
      ...event('certificate.issued', holder, { ...detail, certificateKind: 'workload' }),
      timeMs: this.clock.nowMs(),
    });
  }

  async start(): Promise<{ readonly memory: Memory; readonly view: LedgerLog }> {
    const { clock, log } = this;
    const memory = emptyMemory(clock);
    const book = new LogBook({ memory, clock, logger: silentLogger, complete: true });
    await book.begin(log.store());
    return { memory, view: book.view() };
  }

  #said(of: Pick<ClockState, 'standing' | 'seconds'>, wallMs: number): void {
    const state: ClockState = { bootId: 'boot-1', uptimeMs: 0, wallMs, ...of };
    this.log.addStatement({
      ...event('clock.anchored', 'clock', { ...state }),
      object: loggedObject('clock', state),
    });
  }
}

/** What a decision learns of the leaf, by a clock that was set right. */
function seen({ issued }: Memory, { notAfter }: World): readonly unknown[] {
  const since = notAfter - day;
  return [
    issued.lastOf('a') === notAfter,
    issued.isLive('a', since),
    issued.holders(since).get(holder) === notAfter,
    issued.unheldUntil(since) === notAfter,
  ];
}
const known = [true, true, true, true];

describe('a start with a clock that is far ahead', () => {
  test('keeps every leaf of the whole log that lives by the clock that was believed last', async () => {
    for (const onRecord of [true, false]) {
      const world = new World();
      const basisMs = world.clock.nowMs();
      world.leaf();
      world.believed();
      world.clock.jumpWall(30 * day * 1000);
      if (onRecord) world.doubted(basisMs);
      world.log.grow();
      const { memory } = await world.start();
      memory.issued.holders(world.clock.now());
      world.clock.jumpWall(-30 * day * 1000);
      assert.deepEqual(seen(memory, world), known, `doubt on record: ${onRecord}`);
    }
  });

  test('keeps the leaves of a snapshot, those behind it, and those that the review reads', async () => {
    for (const under of [true, false]) {
      const world = new World();
      world.believed();
      if (under) world.leaf();
      world.log.grow();
      world.log.keep((await world.start()).view.copyLedger());
      if (!under) world.leaf();
      world.log.addStatement(event('entry.created', 'other'));
      world.log.grow();
      world.clock.jumpWall(30 * day * 1000);
      const { memory, view } = await world.start();
      const review = view.review();
      assert.ok(review !== undefined);
      while ((await review.step(1)) !== 'whole');
      memory.issued.holders(world.clock.now());
      world.clock.jumpWall(-30 * day * 1000);
      assert.deepEqual(seen(memory, world), known, `under the snapshot: ${under}`);
    }
  });

  test('keeps a leaf that another process wrote and that is not in the tree yet', async () => {
    const world = new World();
    world.believed();
    world.log.grow();
    const { memory, view } = await world.start();
    world.leaf();
    world.clock.jumpWall(30 * day * 1000);
    const [waits] = await view.pending(10);
    assert.ok(waits !== undefined);
    view.vouch([waits.sequence]);
    world.clock.jumpWall(-30 * day * 1000);
    assert.deepEqual(seen(memory, world), known);
  });

  test('is not misled by a record of the clock that the tree does not have', async () => {
    const world = new World();
    world.believed();
    world.leaf();
    world.log.grow();
    world.clock.jumpWall(30 * day * 1000);
    world.believed();
    const forged = world.log.rows.at(-1);
    assert.ok(forged !== undefined);
    forged.index = 0;
    world.log.store = ((store) => () => ({
      ...store(),
      head: () => Promise.resolve({ size: 2, sequence: forged.sequence }),
    }))(world.log.store.bind(world.log));
    const { memory } = await world.start();
    world.clock.jumpWall(-30 * day * 1000);
    assert.deepEqual(seen(memory, world), known);
  });
});

test('a start forgets what ended a day before the clock was believed last, however long the log', async () => {
  const world = new World();
  world.leaf();
  world.clock.advance(3 * day * 1000);
  world.believed();
  for (let count = 0; count < 2_500; count += 1) world.log.add(joinToken());
  world.log.grow();
  const { memory } = await world.start();
  assert.deepEqual(memory.issued.copy().holders, []);
  assert.deepEqual([...memory.issued.authorities()], []);
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import type { JoinToken } from '../../../src/domain/index.ts';
import { LogBook, type LedgerLog } from '../../../src/ledger/log.ts';
import { emptyMemory, type Memory } from '../../../src/ledger/memory.ts';
import type { Lease, LogStep } from '../../../src/store/ports/index.ts';
import { joinToken } from '../../compliance/store/fixtures.ts';
import { FakeClock } from '../../support/agent.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const clock = new FakeClock();
const lease = {} as Lease;
const step = (taken: readonly number[], excluded: readonly number[] = []): LogStep =>
  ({
    taken,
    excluded: excluded.map((sequence) => ({ sequence, reason: 'a test' })),
    sequence: Math.max(...taken, ...excluded),
  }) as unknown as LogStep;

interface World {
  readonly log: MemoryLog;
  readonly memory: Memory;
  readonly book: LogBook;
  readonly view: LedgerLog;
  /** This process writes a record about the token. */
  write(token: JoinToken): number;
  knows(token: JoinToken): boolean;
}

async function world(log = new MemoryLog()): Promise<World> {
  const memory = emptyMemory(clock);
  const book = new LogBook({ memory, clock, logger: silentLogger, complete: true });
  await book.begin(log.store());
  return {
    log,
    memory,
    book,
    view: book.view(),
    write: (token) => {
      const record = log.addOwn(token);
      book.committed([record]);
      return record.sequence;
    },
    knows: (token) => memory.objects.prove('join-token', token) !== undefined,
  };
}

describe('the memory of the log', () => {
  test('holds what this process wrote from its commit on', async () => {
    const { view, write, knows } = await world();
    let told = 0;
    const stop = view.onRecords(() => (told += 1));
    const token = joinToken();
    const sequence = write(token);
    assert.ok(knows(token));
    assert.deepEqual([told, view.pendingHash(sequence)?.length], [1, 32]);
    stop();
    write(joinToken());
    assert.equal(told, 1);
  });

  test('takes records of others when they are in the tree, as they were judged', async () => {
    const { log, view, knows } = await world();
    const [token, exchanged] = [joinToken(), joinToken()];
    log.grow();
    const sequence = log.add(token);
    await view.pending(10);
    assert.ok(!knows(token), 'it was judged, and is not in the tree');
    const row = log.rows.find((each) => each.sequence === sequence);
    const other = new MemoryLog();
    other.add(exchanged);
    assert.ok(row !== undefined);
    row.canonical = other.rows[0]?.canonical as Buffer;
    await view.extend(step([sequence]), lease);
    assert.deepEqual([knows(token), knows(exchanged)], [true, false]);
  });

  test('never takes what stays out of the tree', async () => {
    const { log, view, knows } = await world();
    log.grow();
    const token = joinToken();
    const sequence = log.add(token);
    await view.pending(10);
    await view.extend(step([], [sequence]), lease);
    assert.ok(!knows(token));
    assert.ok(view.copyLedger() !== undefined, 'it never counted');
  });

  test('tells what vouches for each record that waits', async () => {
    const { log, view, write } = await world();
    log.grow();
    const [own, changed, gone] = [write(joinToken()), write(joinToken()), write(joinToken())];
    const bounds = { sessionId: 's', firstSequence: 4, lastSequence: 4, previousSequence: 0 };
    const sealed = log.add(joinToken(), { ...bounds, signature: Buffer.alloc(64) });
    const foreign = log.add(joinToken());
    const row = log.rows.find(({ sequence }) => sequence === changed);
    assert.ok(row !== undefined);
    row.canonical = Buffer.concat([row.canonical, Buffer.from(' ')]);
    log.rows.splice(
      log.rows.findIndex(({ sequence }) => sequence === gone),
      1,
    );
    const pending = await view.pending(10);
    assert.deepEqual(
      pending.map(({ sequence, origin }) => [sequence, origin.kind]),
      [
        [own, 'own'],
        [changed, 'foreign'],
        [gone, 'gone'],
        [sealed, 'sealed'],
        [foreign, 'foreign'],
      ],
    );
    assert.deepEqual(pending[2]?.leafHash, view.pendingHash(gone));
    assert.deepEqual(
      (await view.pending(1)).map(({ sequence }) => sequence),
      [own],
      'what lies behind the limit is not missed yet',
    );
  });

  test('is no base of a snapshot once it holds what the tree left out', async () => {
    const { log, view, write } = await world();
    log.grow();
    const [kept, touched] = [write(joinToken()), write(joinToken())];
    const copy = view.copyLedger();
    assert.deepEqual([copy?.pending, copy?.objects, copy?.good()], [touched, 2, true]);
    await view.extend(step([kept], [touched]), lease);
    assert.deepEqual([view.copyLedger(), copy?.good()], [undefined, false]);
  });

  test('holds what was vouched for ahead of the tree, and gives no snapshot of that', async () => {
    const { log, view, knows } = await world();
    log.grow();
    const token = joinToken();
    const sequence = log.add(token);
    await view.pending(10);
    view.vouch([sequence]);
    assert.deepEqual([knows(token), view.copyLedger()], [true, undefined]);
  });

  test('is not to be used before its store is open', () => {
    const book = new LogBook({
      memory: emptyMemory(clock),
      clock,
      logger: silentLogger,
      complete: true,
    });
    assert.throws(() => book.view(), TypeError);
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { loggedObject, type JoinToken } from '../../../src/domain/index.ts';
import { LogLoad } from '../../../src/ledger/load.ts';
import { LogBook } from '../../../src/ledger/log.ts';
import { emptyMemory } from '../../../src/ledger/memory.ts';
import { joinToken } from '../../compliance/store/fixtures.ts';
import { FakeClock } from '../../support/agent.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const clock = new FakeClock();

/** A start over this log: what the memory then rests on, and which of the tokens it knows. */
async function start(log: MemoryLog, tokens: readonly JoinToken[], own: readonly JoinToken[] = []) {
  const memory = emptyMemory(clock);
  const load = new LogLoad({
    log: log.store(),
    memory,
    own: () =>
      own.map((token, at) => [
        1_000 + at,
        {
          object: {
            ...loggedObject('join-token', token),
            act: 'noun.verb',
            subject: 's',
            detail: {},
          },
          issued: undefined,
          restored: undefined,
          places: [],
          shardLeaf: undefined,
        },
      ]),
    clock,
    logger: silentLogger,
  });
  await load.load();
  const known = () =>
    tokens.map((token) => memory.objects.prove('join-token', token) !== undefined);
  return { load, known };
}

/** These records in a tree, with a snapshot over them. */
async function snapshotOf(tokens: readonly JoinToken[]): Promise<MemoryLog> {
  const log = new MemoryLog();
  for (const token of tokens) log.add(token);
  log.grow();
  const memory = emptyMemory(clock);
  const book = new LogBook({ memory, clock, logger: silentLogger, complete: true });
  await book.begin(log.store());
  log.keep(book.view().copyLedger());
  return log;
}

/** A log with a snapshot over the first two records, and one record behind it. */
async function withSnapshot(): Promise<{ readonly log: MemoryLog; readonly tokens: JoinToken[] }> {
  const tokens = [joinToken(), joinToken(), joinToken()];
  const log = await snapshotOf(tokens.slice(0, 2));
  log.add(tokens[2] as JoinToken);
  log.grow();
  return { log, tokens };
}

describe('a start', () => {
  test('takes from the whole log what is in the tree, and nothing else', async () => {
    const log = new MemoryLog();
    const tokens = [joinToken(), joinToken()];
    log.add(tokens[0] as JoinToken);
    log.grow();
    log.add(tokens[1] as JoinToken);
    const { load, known } = await start(log, tokens);
    assert.deepEqual(known(), [true, false]);
    assert.deepEqual([load.basis, load.openThrough, load.computed.size], [undefined, 0, 1]);
    assert.deepEqual(load.computed.root(), log.checkpoint?.root);
  });

  test('takes everything where there is no checkpoint yet', async () => {
    const log = new MemoryLog();
    const token = joinToken();
    const sequence = log.add(token);
    const { load, known } = await start(log, [token]);
    assert.deepEqual([known(), load.openThrough], [[true], sequence]);
  });

  test('keeps what this process has written already', async () => {
    const log = new MemoryLog();
    log.grow();
    const token = joinToken();
    assert.deepEqual((await start(log, [token], [token])).known(), [true]);
  });

  test('rests on the newest snapshot and the records behind it', async () => {
    const { log, tokens } = await withSnapshot();
    const { load, known } = await start(log, tokens);
    assert.deepEqual([known(), load.basis?.size], [[true, true, true], 2]);
    assert.deepEqual(load.computed.root(), log.checkpoint?.root);
    await load.withoutBasis('its signature is not good');
    assert.deepEqual([known(), load.basis], [[true, true, true], undefined]);
  });

  test('reads the whole log where a snapshot does not fit', async () => {
    const faults: Record<string, (log: MemoryLog) => void> = {
      'a part is gone': (log) => log.parts.clear(),
      'a part was altered': (log) => {
        for (const key of log.parts.keys()) log.parts.set(key, Buffer.from('["objects"]'));
      },
      'it is over another tree': (log) => {
        log.snapshots = log.snapshots.map((each) => ({ ...each, root: Buffer.alloc(32) }));
      },
      'it is over more than the tree has': (log) => {
        log.snapshots = log.snapshots.map((each) => ({ ...each, size: 99 }));
      },
    };
    for (const [name, spoil] of Object.entries(faults)) {
      const { log, tokens } = await withSnapshot();
      spoil(log);
      const { load, known } = await start(log, tokens);
      assert.deepEqual([known(), load.basis], [[true, true, true], undefined], name);
    }
  });

  test('does not believe a record behind the snapshot that the tree does not have', async () => {
    const { log, tokens } = await withSnapshot();
    const [stranger, last] = [new MemoryLog(), log.rows.at(-1)];
    const forged = joinToken();
    stranger.add(forged);
    assert.ok(last !== undefined);
    last.canonical = stranger.rows[0]?.canonical as Buffer;
    const { load } = await start(log, tokens);
    assert.equal(load.basis, undefined);
    assert.notDeepEqual(load.computed.root(), log.checkpoint?.root, 'the start refuses it');
  });
});

describe('the review of what a start has passed over', () => {
  const steps = async (log: MemoryLog, tokens: readonly JoinToken[]): Promise<string[]> => {
    const { load } = await start(log, tokens);
    const review = load.review();
    assert.ok(review !== undefined);
    const said: string[] = [];
    do said.push(await review.step(1));
    while (said.at(-1) !== 'whole');
    assert.deepEqual([review.checked, review.of], [2, 2]);
    return said;
  };

  test('ends when the records say what the snapshot says', async () => {
    const { log, tokens } = await withSnapshot();
    assert.deepEqual(await steps(log, tokens), ['more', 'more', 'more', 'whole']);
  });

  test('names the record that was altered or is gone', async () => {
    for (const spoil of [
      (log: MemoryLog) => {
        const row = log.rows[1];
        if (row !== undefined) row.canonical = Buffer.from('meshca-audit-v1\n{}');
      },
      (log: MemoryLog) => void log.rows.splice(0, 1),
    ]) {
      const { log, tokens } = await withSnapshot();
      spoil(log);
      await assert.rejects(steps(log, tokens), { code: 'AUDIT_INVALID' });
    }
  });

  test('finds a snapshot that says another thing than its records', async () => {
    const { log, tokens } = await withSnapshot();
    const other = await snapshotOf([joinToken(), joinToken()]);
    const root = log.snapshots[0]?.root as Buffer;
    log.snapshots = other.snapshots.map((each) => ({ ...each, root }));
    for (const [key, part] of other.parts) log.parts.set(key, part);
    await assert.rejects(steps(log, tokens), { code: 'AUDIT_INVALID' });
  });
});

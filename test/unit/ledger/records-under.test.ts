import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CompactRange } from '../../../src/common/tlog/index.ts';
import { canonicalBytes, leafHash } from '../../../src/domain/index.ts';
import { recordsUnder } from '../../../src/ledger/records-under.ts';
import type { LogRow } from '../../../src/store/ports/index.ts';

const rowsOf = (count: number): LogRow[] =>
  Array.from({ length: count }, (_, index) => ({
    sequence: index + 1,
    canonical: canonicalBytes({ timeMs: index, actor: 'a', kind: 'x.y', subject: 's', detail: {} }),
    index,
  }));

function headOf(rows: readonly LogRow[]) {
  const tree = new CompactRange();
  for (const { canonical } of rows) tree.append(leafHash(canonical));
  return { size: tree.size, root: tree.root() };
}

/** The sequences that were read from a log with these rows, and how it ended. */
async function read(
  rows: readonly LogRow[],
  range: Parameters<typeof recordsUnder>[1],
): Promise<readonly [number, string]> {
  const log = {
    records: (after: number, limit: number) =>
      Promise.resolve(rows.filter(({ sequence }) => sequence > after).slice(0, limit)),
  };
  let count = 0;
  try {
    for await (const part of recordsUnder(log, range)) count += part.length;
    return [count, 'whole'];
  } catch (thrown) {
    return [count, (thrown as { code: string }).code];
  }
}

test('all records of a range are read, and those behind it are not', async () => {
  const rows = rowsOf(1_203);
  const head = headOf(rows.slice(0, 1_100));
  // the last ones of the range are not in the tree yet
  const untreed = rows.map((row, at) => (at < 1_100 ? row : { ...row, index: undefined }));
  assert.deepEqual(await read(untreed, { head, through: 1_200 }), [1_200, 'whole']);
  assert.deepEqual(await read(untreed, { head: undefined, through: 1_200 }), [1_200, 'whole']);
  assert.deepEqual(await read([], { head: undefined, through: 0 }), [0, 'whole']);
});

test('a record under the head that was changed, moved or deleted is told after the others', async () => {
  const rows = rowsOf(700);
  const head = headOf(rows);
  const range = { head, through: 700 };
  const changed = rows.with(3, { ...(rows[3] as LogRow), canonical: Buffer.from('other') });
  const [first, second] = rows as [LogRow, LogRow];
  const moved = rows
    .with(0, { ...second, sequence: 1, index: 0 })
    .with(1, { ...first, sequence: 2, index: 1 });
  assert.deepEqual(await read(changed, range), [700, 'AUDIT_INVALID']);
  assert.deepEqual(await read(moved, range), [700, 'AUDIT_INVALID']);
  assert.deepEqual(await read(rows.toSpliced(5, 1), range), [699, 'AUDIT_INVALID']);
});

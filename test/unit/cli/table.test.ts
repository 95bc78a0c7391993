import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { table, type Column } from '../../../src/cli/table.ts';
import { testContext } from '../../support/command.ts';

interface Row {
  readonly serial: string;
  readonly id: string;
  readonly holder: string;
}

const columns: readonly Column<Row>[] = [
  { title: 'SERIAL', value: ({ serial }) => serial, short: 'serial' },
  { title: 'SPIFFE ID', value: ({ id }) => id },
  { title: 'HOLDER', value: ({ holder }) => holder, priority: 2 },
];
const row: Row = {
  serial: '0123456789abcdef0123456789abcdef',
  id: 'spiffe://mesh.example.org/shop/web',
  holder: 'spiffe://mesh.example.org/meshca/agent/node-1',
};

function lines(rows: readonly Row[], width: number | 'pipe'): string[] {
  const { context, seen } = testContext({
    terminal: {
      isTerminal: width !== 'pipe',
      columns: width === 'pipe' ? 80 : width,
      color: false,
    },
  });
  table(context, columns, rows, 'nothing');
  return seen.out.trimEnd().split('\n');
}

describe('a table', () => {
  test('fits 80 columns: the trust domain goes, then serials are cut', () => {
    const narrow = lines([{ ...row, id: `${row.id}-of-the-frontend-team` }], 80);
    assert.equal(narrow[1], '456789abcdef  /shop/web-of-the-frontend-team  /meshca/agent/node-1');
    assert.ok(narrow.every((line) => line.length <= 80));
  });

  test('loses columns by priority where that is not enough, and then cuts', () => {
    assert.deepEqual(lines([row], 24), ['SERIAL        SPIFFE ID', '456789abcdef  /shop/web']);
    const long = { ...row, id: `spiffe://mesh.example.org/${'a'.repeat(60)}/web` };
    const cut = lines([long], 30);
    assert.ok(cut.every((line) => line.length <= 30));
    assert.match(cut[1] ?? '', /…a+\/web$/);
  });

  test('keeps the trust domains where there are two', () => {
    const other = { ...row, holder: 'spiffe://other.example.org/meshca/agent/node-1' };
    assert.match(lines([row, other], 110)[1] ?? '', /spiffe:\/\/mesh\.example\.org\/shop\/web/);
  });

  test('is whole in a pipe and where it fits', () => {
    for (const width of ['pipe', 200] as const)
      assert.match(
        lines([row], width)[1] ?? '',
        new RegExp(`^${row.serial} {2}${row.id} {2}${row.holder}$`),
      );
  });
});

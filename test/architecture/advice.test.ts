import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { codes, isErrorCode } from '../../src/common/errors/index.ts';
import { advice, type AdviceRow, type TestName } from '../support/advice/index.ts';
import { root } from './graph.ts';

const rows = Object.entries(advice);

/** The tests of a file, each with its text up to the next one. */
function testsIn(file: string): ReadonlyMap<string, string> {
  const text = readFileSync(join(root, 'test', file), 'utf8');
  const starts = [...text.matchAll(/^\s*(?:await )?(?:test|it)\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gm)];
  return new Map(
    starts.map((match, index) => [
      match[2] as string,
      text.slice(match.index, starts[index + 1]?.index ?? text.length),
    ]),
  );
}

const isThere = ([file, name]: TestName): boolean =>
  existsSync(join(root, 'test', file)) && testsIn(file).has(name);

const testsOf = ({ by, followed }: AdviceRow): readonly TestName[] =>
  'does' in followed && followed.by !== undefined ? [by, followed.by] : [by];

test('each error code has a row in the table of advice, and no row has a code that is gone', () => {
  assert.deepEqual(
    Object.keys(codes).filter((code) => !(code in advice)),
    [],
  );
  assert.deepEqual(
    Object.keys(advice).filter((code) => !isErrorCode(code)),
    [],
  );
});

test('each test that the table of advice names is there', () => {
  const gone = rows.flatMap(([code, row]) =>
    testsOf(row)
      .filter((name) => !isThere(name))
      .map((name) => `${code}: ${name.join(': ')}`),
  );
  assert.deepEqual(gone, []);
});

test('the test that provokes a code names it', () => {
  const silent = rows.filter(([code, { by }]) => {
    if (!isThere(by)) return false;
    const text = testsIn(by[0]).get(by[1]) ?? '';
    // names and codes that a loop takes from a table stand outside of the test
    const whole = readFileSync(join(root, 'test', by[0]), 'utf8');
    return !new RegExp(`\\b${code}\\b`).test(by[1].includes('${') ? whole : text);
  });
  assert.deepEqual(
    silent.map(([code]) => code),
    [],
  );
});

test('each row says in words what was done, or why nothing was', () => {
  const empty = rows.filter(([, { provoked, followed }]) =>
    [provoked, ...Object.values(followed)].some((text) => text.length === 0),
  );
  assert.deepEqual(
    empty.map(([code]) => code),
    [],
  );
});

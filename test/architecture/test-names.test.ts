import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { tokenize } from './tokens.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const longest = 100;
const runners = new Set(['test', 'it', 'describe', 'suite']);

/**
 * The names of the tests and suites of a source: texts that are the first argument of a call of the
 * runner. Placeholders of a template do not count.
 */
function namesIn(source: string): readonly string[] {
  const tokens = tokenize(source);
  return tokens.flatMap(({ kind, text }, at) => {
    if (kind !== 'word' || !runners.has(text)) return [];
    const open = tokens[at + 1]?.text === '.' ? at + 3 : at + 1;
    if (tokens[open]?.text !== '(') return [];
    const first = tokens[open + 1];
    if (first?.kind === 'string') return [first.text];
    return first?.kind === 'template' ? [templateText(tokens.slice(open + 1))] : [];
  });
}

/** The fixed parts of the template that these tokens begin with. */
function templateText(tokens: ReturnType<typeof tokenize>): string {
  let text = '';
  let depth = 0;
  for (const token of tokens) {
    if (token.kind === 'template') text += depth === 0 ? token.text : '';
    else if (token.text === '${') depth += 1;
    else if (token.text === '}') depth -= 1;
    else if (depth === 0) break;
  }
  return text;
}

test('names of tests have at most 100 characters', () => {
  const folder = join(root, 'test');
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => namesIn(readFileSync(join(folder, path), 'utf8')));
  assert.ok(names.length > 1_000, `only ${names.length} names`);
  assert.deepEqual(
    names.filter(({ length }) => length > longest),
    [],
    'state one behaviour in fewer words',
  );
});

test('the name of a test is found in each form of a call', () => {
  const found = namesIn(
    [
      "test('one', () => {});",
      // in two parts, so that a search for tests that stand alone does not find this one
      'test' + ".only('two', () => {});",
      'it(`three ${name} of ${count(1)} four`, () => {});',
      "describe(title, () => { t.test('five', run); });",
    ].join('\n'),
  );
  assert.deepEqual(found, ['one', 'two', 'three  of  four', 'five']);
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { tokenize, type Token } from './tokens.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** Files with calls that ask for one page and look at no next one, how many, and the reason. */
const exceptions: Readonly<Record<string, readonly [number, string]>> = {
  'src/cli/authority-id.ts': [1, 'the server gives every authority in one answer'],
  'src/cli/commands/authority.ts': [1, 'the server gives every authority in one answer'],
  'src/issuance/ocsp/signers.ts': [1, 'the newest signers; where none is found one is made'],
};

/**
 * How often a source takes the items of one page and leaves out whether there is a next one: what is
 * behind that page is then hidden from whoever decides by the list. A page of one item asks for the
 * first or newest alone, and hides nothing.
 */
function partialReadsIn(source: string): number {
  const tokens = tokenize(source);
  const textOf = (from: number, to: number): string =>
    tokens
      .slice(from, to)
      .map(({ kind, text }) => (kind === 'string' ? `'${text}'` : text))
      .join(' ');
  return tokens.filter((token, at) => {
    if (isWord(token, 'page') && textOf(at + 1, at + 3) === ': {')
      return isLonePage(textOf(at + 3, endOf(tokens, at + 3)));
    if (!isWord(token, 'items')) return false;
    const end = endOf(tokens, at);
    const statement = textOf(beginOf(tokens, at), end);
    if (/\) \. items$/.test(textOf(at - 2, at + 1)))
      return / await .* \. list \(/.test(` ${statement}`) && !isOne(statement);
    const pattern = /^const \{([^}]*(?:\{[^}]*\}[^}]*)?)\} = await (.*)$/.exec(statement);
    if (pattern === null) return false;
    const [, names = '', call = ''] = pattern;
    return / \. list \(/.test(call) && !/\bnext\b/.test(names) && !isOne(statement);
  }).length;
}

const isWord = ({ kind, text }: Token, word: string): boolean => kind === 'word' && text === word;
const isOne = (text: string): boolean => /\bsize : 1 [,}]/.test(text);
const isLonePage = (text: string): boolean =>
  /\btoken : ''/.test(text) && !/\bsize : 1 ,/.test(text);

function beginOf(tokens: readonly Token[], at: number): number {
  let begin = at;
  while (begin > 0 && !['const', ';', 'return'].includes(tokens[begin - 1]?.text ?? '')) begin -= 1;
  return tokens[begin - 1]?.text === 'const' ? begin - 1 : begin;
}

/** Where the statement ends, or the object of which `at` is the first token behind its brace. */
function endOf(tokens: readonly Token[], at: number): number {
  let end = at;
  while (end < tokens.length && tokens[end]?.text !== ';') end += 1;
  return end;
}

const sources = (): readonly string[] =>
  ['src', 'sidecar'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.includes('generated/'))
      .map((path) => `${folder}/${path}`),
  );

test('who asks for one page of a list looks whether there is a next one', () => {
  const partial = sources()
    .map((path) => [path, partialReadsIn(readFileSync(join(root, path), 'utf8'))] as const)
    .filter(([, count]) => count > 0);
  assert.deepEqual(
    Object.fromEntries(partial),
    Object.fromEntries(Object.entries(exceptions).map(([path, [count]]) => [path, count])),
    'read on (pagesOf, wholeList in src/store/pages.ts; allPages, everyItem in src/cli), or look up ' +
      'by name; an exception needs its reason here',
  );
});

test('a read of one page alone is found in each of its forms', () => {
  const partial = [
    'const { items } = await services.tokens.list(caller, { size: 1000 });',
    'const { items: tokens } = await services.tokens.list(caller, { size: 1000 });',
    'const found = (await audit.list({ subject: id }, { size: 10 })).items;',
    "await calls.call('ListRoles', { page: { size: 500, token: '' } });",
  ];
  const whole = [
    'const { items, next } = await services.tokens.list(caller, page);',
    'const { items } = await audit.list({ newestFirst: true }, { size: 1 });',
    'const all = await wholeList((page) => services.roles.list(caller, page));',
    "await calls.call('ListAuditRecords', { page: { size: 1, token: '' }, sequence });",
    "await calls.call('ListRoles', { page: { size: 500, token } });",
  ];
  assert.deepEqual(
    partial.map(partialReadsIn),
    partial.map(() => 1),
  );
  assert.deepEqual(
    whole.map(partialReadsIn),
    whole.map(() => 0),
  );
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { parseHcl } from '../../../../sidecar/files/hcl.ts';

const problemOf = (text: string): string => {
  const parsed = parseHcl(text);
  return parsed.ok ? '' : `${parsed.error.code} ${parsed.error.message}`;
};

test('keys, lists, objects, blocks and comments are read', () => {
  const text = [
    '# a comment',
    'text = "with \\"quotes\\" and # no comment" // another',
    '/* over',
    'lines */ number = 0644',
    'flag = true',
    'list = ["a", { key = "b", other = [] },]',
    'block { inside = false }',
    '"quoted key" = ""',
  ].join('\n');
  assert.deepEqual(
    unwrap(parseHcl(text)),
    new Map<string, unknown>([
      ['text', 'with "quotes" and # no comment'],
      ['number', { number: '0644' }],
      ['flag', true],
      [
        'list',
        [
          'a',
          new Map<string, unknown>([
            ['key', 'b'],
            ['other', []],
          ]),
        ],
      ],
      ['block', new Map([['inside', false]])],
      ['quoted key', ''],
    ]),
  );
});

test('what can not be read is refused with its line', () => {
  for (const [text, reason] of [
    ['a = "x"\nb = ', /the text ends too early/],
    ['a = "x"\na = "y"', /line 2: a stands twice/],
    ['a = 1.5', /line 1 can not be read/],
    ['a = "x\n"', /line 1 can not be read/],
    ['\na = <<END\nx\nEND', /line 2 can not be read/],
    ['a = "${x}"', /interpolation is not carried out/],
    ['a = "\\q"', /an escape that is not known/],
    ['a = word', /"word" is not expected/],
    ['a "x"', /"x" is not expected/],
    ['a = ["x" "y"]', /"y" is not expected/],
    ['a { b = "x"', /ends too early/],
    ['}', /"}" is not expected/],
  ] as const)
    assert.match(problemOf(text), reason, text);
  assert.match(problemOf('}'), /^CONFIG_INVALID /);
});

test('no text makes it throw', () => {
  const parts = ['a', '=', '"x"', '{', '}', '[', ']', ',', '0644', '#', '/*', '\n', '"', 'true'];
  let seed = 1;
  const next = (): string => {
    seed = (seed * 48_271) % 2_147_483_647;
    return parts[seed % parts.length] as string;
  };
  for (let run = 0; run < 3000; run += 1)
    parseHcl(Array.from({ length: 1 + (run % 12) }, next).join(run % 2 === 0 ? ' ' : ''));
});

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import type { Command } from 'commander';
import type { CliContext } from '../../src/cli/context.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { codes } from '../../src/common/errors/index.ts';
import { root } from './graph.ts';

const pages = [
  ...readdirSync(root).filter((name) => /^[A-Z]+\.md$/.test(name)),
  ...readdirSync(join(root, 'docs')).flatMap((name) =>
    name.endsWith('.md') ? `docs/${name}` : [],
  ),
];
const textOf = (page: string): string => readFileSync(join(root, page), 'utf8');

test('each promise and flow has a file that is there and whose name stands in its sentence', () => {
  const [, section = ''] = textOf('ARCHITECTURE.md').split(
    '## Where each promise and flow lives\n',
  );
  const rows = [...(section.split('\n## ')[0] ?? '').matchAll(/^\| (.+) \| (`.+`) \|$/gm)];
  assert.ok(rows.length >= 20, `${rows.length} rows`);
  for (const [, sentence = '', cell = ''] of rows)
    for (const [, path = ''] of cell.matchAll(/`([^`]+)`/g)) {
      assert.ok(existsSync(join(root, path)), `${path} is not there`);
      const words = (path.split('/').at(-1) ?? '').replace(/\.ts$/, '').split('-');
      assert.ok(
        words.some((word) => sentence.toLowerCase().includes(word.replace(/s$/, ''))),
        `"${sentence}" does not lead to ${path}`,
      );
    }
  for (const promise of ['1', '2', '3', '4', '5', '6', '7', '8'])
    assert.ok(section.includes(`| **${promise} `), `promise ${promise}`);
});

test('links between pages lead to pages that are there', () => {
  const broken = pages.flatMap((page) =>
    [...textOf(page).matchAll(/\]\(([^)#:]+?)(?:#[^)]*)?\)/g)]
      .map((match) => match[1] as string)
      .filter((link) => !existsSync(join(root, dirname(page), link)))
      .map((link) => `${page}: ${link}`),
  );
  assert.deepEqual(broken, []);
});

test('codes and files that troubleshooting, control planes and threat model name are there', () => {
  const named = ['troubleshooting', 'control-planes', 'upgrade', 'threat-model'].flatMap((name) => [
    ...textOf(`docs/${name}.md`).matchAll(/`([^`\n]+)`/g),
  ]);
  const texts = named.map((match) => match[1] as string);
  const codeNames = texts.flatMap((text) => /^[A-Z]+(?:_[A-Z]+)+(?=$|:)/.exec(text)?.[0] ?? []);
  const outside = new Set(['SPIFFE_ENDPOINT_SOCKET']);
  assert.ok(codeNames.length > 50, `${codeNames.length} codes`);
  assert.deepEqual(
    codeNames.filter((name) => !outside.has(name) && !(name in codes)),
    [],
  );
  const paths = texts.filter((text) => /^(src|sidecar|test|docs|packages)\//.test(text));
  assert.ok(paths.length > 10, `${paths.length} paths`);
  assert.deepEqual(
    paths.filter((path) => !existsSync(join(root, path))),
    [],
  );
});

/** The first word of a command line that is no command, or undefined. */
function unknownWord(program: Command, words: readonly string[]): string | undefined {
  let at = program;
  for (const word of words) {
    if (at.commands.length === 0 || !/^[a-z][a-z0-9-]+$/.test(word)) return undefined;
    const next = at.commands.find((command) => command.name() === word);
    if (next === undefined) return word;
    at = next;
  }
  return undefined;
}

test('commands that the pages name are commands', () => {
  const program = buildProgram({} as CliContext, { exitCode: 0 });
  const lines = pages.flatMap((page) =>
    [...textOf(page).matchAll(/(?:^\$ |^|`|&& )meshca ([a-z][^`\n]*)/gm)].map(
      (match) => [page, match[1] as string] as const,
    ),
  );
  assert.ok(lines.length > 60, `${lines.length} commands`);
  assert.deepEqual(
    lines
      .filter(([, line]) => unknownWord(program, line.split(/\s+/)) !== undefined)
      .map(([page, line]) => `${page}: meshca ${line}`),
    [],
  );
});
